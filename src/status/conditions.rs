//! From what is said of an object to its four conditions. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::classify::PlacementReason;
use crate::model::UnixTime;
use crate::registry::{ObservedStatus, RefusalReason};

/// What is said of an object: a row of the table of states in SPEC section 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has a tier.
    Classified(PlacementReason),
    /// No use is known yet.
    AwaitingUsage,
    /// The publication was given up.
    UsageIncomplete,
    /// The fleet is suspended.
    Suspended,
    /// Switched off.
    Disabled,
    /// Not accepted.
    Refused(RefusalReason),
}

/// Status and reason of a condition; `None` if it is not there.
pub type Said = Option<(ConditionStatus, Reason)>;

impl State {
    /// What this state says in the condition of this type.
    #[must_use]
    pub fn says(self, kind: ConditionType) -> Said {
        use ConditionStatus::{False, True, Unknown};
        use ConditionType::{Accepted, Classified, Ready, Stalled};
        match (self, kind) {
            (Self::Refused(refusal), Accepted | Ready) => Some((False, refusal.reason())),
            (Self::Refused(refusal), Stalled) => Some((True, refusal.reason())),
            (Self::Refused(_), Classified) => Some((False, Reason::NotAccepted)),
            (_, Stalled) => None,
            (_, Accepted) => Some((True, Reason::Valid)),
            (Self::Disabled, Classified) => Some((False, Reason::Disabled)),
            (Self::Disabled, Ready) => Some((True, Reason::Disabled)),
            (Self::AwaitingUsage, Classified) => Some((Unknown, Reason::AwaitingUsage)),
            (Self::UsageIncomplete, Classified) => Some((Unknown, Reason::UsageIncomplete)),
            (Self::Suspended, Classified) => Some((Unknown, Reason::Suspended)),
            (Self::AwaitingUsage | Self::UsageIncomplete | Self::Suspended, Ready) => Some((True, Reason::Registered)),
            (Self::Classified(place), Classified) => Some((True, reason_of(place))),
            (Self::Classified(_), Ready) => Some((True, Reason::Classified)),
        }
    }

    /// Whether a status says something else, messages and times aside.
    #[must_use]
    pub fn differs(self, observed: &ObservedStatus, generation: i64) -> bool {
        observed.strangers
            || ConditionType::ALL.into_iter().any(|kind| {
                let said = observed.condition(kind).map(|c| (c.status, c.reason, c.observed_generation));
                let wanted = self.says(kind).map(|(status, reason)| (Some(status), Some(reason), Some(generation)));
                said != wanted
            })
    }

    /// The conditions as they are written. The time of a transition is kept while the status of the condition stays.
    #[must_use]
    pub fn conditions(self, observed: &ObservedStatus, generation: i64, now: UnixTime) -> Vec<Condition> {
        let condition = |kind: ConditionType| {
            let (status, reason) = self.says(kind)?;
            let before = observed.condition(kind).filter(|before| before.status == Some(status));
            let transition = before.and_then(|before| jiff::Timestamp::from_second(before.transition).ok());
            Some(Condition {
                type_: kind.as_str().to_owned(),
                status: status.as_str().to_owned(),
                reason: reason.as_str().to_owned(),
                message: reason.message().to_owned(),
                observed_generation: Some(generation),
                last_transition_time: Time(transition.unwrap_or_else(|| now.timestamp())),
            })
        };
        ConditionType::ALL.into_iter().filter_map(condition).collect()
    }
}

/// The reason of the `Classified` condition for a place.
#[must_use]
pub const fn reason_of(place: PlacementReason) -> Reason {
    match place {
        PlacementReason::AboveCut => Reason::AboveCut,
        PlacementReason::Held => Reason::Held,
        PlacementReason::BelowCut => Reason::BelowCut,
        PlacementReason::NeverUsed => Reason::NeverUsed,
        PlacementReason::CapIsZero => Reason::CapIsZero,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of SPEC section 1, as text.
    fn row(state: State) -> String {
        let cell = |kind| match state.says(kind) {
            Some((status, reason)) => format!("{}/{}", status.as_str(), reason.as_str()),
            None => "–".to_owned(),
        };
        ConditionType::ALL.map(cell).join(" | ")
    }

    #[test]
    fn each_state_says_what_the_table_says() {
        let rows = [
            (State::Classified(PlacementReason::AboveCut), "True/Valid | True/AboveCut | True/Classified | –"),
            (State::Classified(PlacementReason::Held), "True/Valid | True/Held | True/Classified | –"),
            (State::Classified(PlacementReason::BelowCut), "True/Valid | True/BelowCut | True/Classified | –"),
            (State::Classified(PlacementReason::NeverUsed), "True/Valid | True/NeverUsed | True/Classified | –"),
            (State::Classified(PlacementReason::CapIsZero), "True/Valid | True/CapIsZero | True/Classified | –"),
            (State::AwaitingUsage, "True/Valid | Unknown/AwaitingUsage | True/Registered | –"),
            (State::UsageIncomplete, "True/Valid | Unknown/UsageIncomplete | True/Registered | –"),
            (State::Suspended, "True/Valid | Unknown/Suspended | True/Registered | –"),
            (State::Disabled, "True/Valid | False/Disabled | True/Disabled | –"),
            (
                State::Refused(RefusalReason::CredentialInUrl),
                "False/CredentialInUrl | False/NotAccepted | False/CredentialInUrl | True/CredentialInUrl",
            ),
            (
                State::Refused(RefusalReason::DuplicateGatewayId),
                "False/DuplicateGatewayId | False/NotAccepted | False/DuplicateGatewayId | True/DuplicateGatewayId",
            ),
        ];
        for (state, expected) in rows {
            assert_eq!(row(state), expected);
        }
    }
}
