//! Maps the state of an object to its conditions (`docs/contract.md#conditions`). Pure.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::VariantArray;

use super::registration::ready;
use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::classify::PlacementReason;
use crate::model::UnixTime;
use crate::registration::outcome::RegisteredCondition;
use crate::registry::{GatewayRecord, RefusalReason, StatusTime};

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetCondition {
    /// `type`.
    pub kind: ConditionType,
    /// `status`.
    pub status: ConditionStatus,
    /// `reason`.
    pub reason: Reason,
    /// `message`, which is never compared.
    pub message: Cow<'static, str>,
}

/// What the conditions of an object say.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConditionsOf<'a> {
    pub(super) state: ObjectState,
    /// The condition `Registered`, if there is to be one.
    pub(super) registered: Option<&'a RegisteredCondition>,
    /// The object with the conditions that are there.
    pub(super) record: &'a GatewayRecord,
}

/// The state of an object: a row of the table in `docs/contract.md#conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectState {
    /// It has a tier.
    Classified {
        reason: PlacementReason,
        /// Whether the object asks for a pin.
        asks_for_a_pin: bool,
        /// Whether it has a refresh request that cannot be read.
        invalid_request: bool,
    },
    /// It is too new to have a tier: no collection has asked about it yet.
    AwaitingUsage,
    /// The publication was given up.
    UsageIncomplete,
    /// The fleet is suspended.
    Suspended,
    /// It is switched off.
    Disabled,
    /// It is not accepted.
    Refused(RefusalReason),
}

impl ObjectState {
    /// The state of a server with a tier.
    pub(super) fn classified(reason: PlacementReason, record: &GatewayRecord) -> Self {
        let invalid_request = record.refresh_request().is_some_and(|request| request.time.is_none());
        Self::Classified { reason, asks_for_a_pin: record.asks_for_a_pin(), invalid_request }
    }

    /// The state of a registered object by the reason of its condition `Classified`.
    pub(super) fn inherited(classified: Reason, record: &GatewayRecord) -> Option<Self> {
        match classified {
            Reason::AwaitingUsage => Some(Self::AwaitingUsage),
            Reason::UsageIncomplete => Some(Self::UsageIncomplete),
            Reason::Suspended => Some(Self::Suspended),
            _ => PlacementReason::VARIANTS
                .iter()
                .find(|reason| reason.condition_reason() == classified)
                .map(|reason| Self::classified(*reason, record)),
        }
    }

    /// The status and reason of a condition; `None` if the condition is absent.
    pub(super) fn condition(self, kind: ConditionType) -> Option<(ConditionStatus, Reason)> {
        use ConditionStatus::{False, True, Unknown};
        use ConditionType::{Accepted, Classified, Pinned, Ready, RefreshRequested, Registered, Stalled};
        match (self, kind) {
            (Self::Refused(refusal), Accepted | Ready) => Some((False, refusal.reason())),
            (Self::Refused(refusal), Stalled) => Some((True, refusal.reason())),
            (Self::Refused(_), Classified) => Some((False, Reason::NotAccepted)),
            (Self::Classified { reason: PlacementReason::Pinned, asks_for_a_pin: true, .. }, Pinned) => {
                Some((True, Reason::Pinned))
            }
            (Self::Classified { asks_for_a_pin: true, .. }, Pinned) => Some((False, Reason::TooManyPinned)),
            (Self::Classified { invalid_request: true, .. }, RefreshRequested) => {
                Some((False, Reason::InvalidRefreshRequest))
            }
            (_, Stalled | Pinned | RefreshRequested | Registered) => None,
            (_, Accepted) => Some((True, Reason::Valid)),
            (Self::Disabled, Classified) => Some((False, Reason::Disabled)),
            (Self::Disabled, Ready) => Some((True, Reason::Disabled)),
            (Self::AwaitingUsage, Classified) => Some((Unknown, Reason::AwaitingUsage)),
            (Self::UsageIncomplete, Classified) => Some((Unknown, Reason::UsageIncomplete)),
            (Self::Suspended, Classified) => Some((Unknown, Reason::Suspended)),
            (Self::AwaitingUsage | Self::UsageIncomplete | Self::Suspended, Ready) => Some((True, Reason::Registered)),
            (Self::Classified { reason, .. }, Classified) => Some((True, reason.condition_reason())),
            (Self::Classified { .. }, Ready) => Some((True, Reason::Classified)),
        }
    }
}

impl ConditionsOf<'_> {
    /// The status and reason of a condition; `None` if the condition is absent.
    fn state(&self, kind: ConditionType) -> Option<(ConditionStatus, Reason)> {
        match (kind, self.registered) {
            (ConditionType::Registered, found) => found.map(|found| (found.status, found.reason)),
            (ConditionType::Ready, Some(found)) => {
                let before = self.record.status.condition(kind).filter(|before| before.current);
                let before = before.and_then(|before| before.status.zip(before.reason));
                Some(ready(self.state.condition(kind)?, found, before))
            }
            _ => self.state.condition(kind),
        }
    }

    /// A condition with its message; `None` if it is absent.
    pub(super) fn condition(&self, kind: ConditionType) -> Option<TargetCondition> {
        let (status, reason) = self.state(kind)?;
        // Ready repeats the registration that it fails by.
        let repeated = self.registered.filter(|found| match kind {
            ConditionType::Registered => true,
            ConditionType::Ready => found.reason == reason && self.state.condition(kind) != Some((status, reason)),
            _ => false,
        });
        let message = repeated.map_or_else(|| reason.message().into(), |found| found.message.clone());
        Some(TargetCondition { kind, status, reason, message })
    }

    /// Whether the observed conditions differ in more than messages and times. The message of `Registered` counts too,
    /// unless it repeats what others say: one reason has several messages that say what to do.
    pub(super) fn differ(&self) -> bool {
        let said = self.record.registered_message();
        let says_else = |found: &RegisteredCondition| !found.repeats && said != Some(&*found.message);
        self.record.status.foreign
            || self.registered.is_some_and(says_else)
            || ConditionType::VARIANTS.iter().any(|&kind| {
                let observed = self.record.status.condition(kind).map(|c| (c.status, c.reason, c.current));
                let target = self.state(kind).map(|(status, reason)| (Some(status), Some(reason), true));
                observed != target
            })
    }

    /// The conditions to write. A transition time stays while the status of its condition does.
    pub(super) fn written(&self, generation: i64, now: UnixTime) -> Vec<Condition> {
        let condition = |&kind: &ConditionType| {
            let TargetCondition { status, reason, message, .. } = self.condition(kind)?;
            let before = self.record.status.condition(kind).filter(|before| before.status == Some(status));
            let transition = before.and_then(|before| before.transition).map(StatusTime::timestamp);
            Some(Condition {
                type_: kind.to_string(),
                status: status.to_string(),
                reason: reason.to_string(),
                message: message.into_owned(),
                observed_generation: Some(generation),
                last_transition_time: Time(transition.unwrap_or_else(|| now.timestamp())),
            })
        };
        ConditionType::VARIANTS.iter().filter_map(condition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the contract's table.
    fn row(state: ObjectState) -> String {
        let cell = |kind| match state.condition(kind) {
            Some((status, reason)) => format!("{status}/{reason}"),
            None => "–".to_owned(),
        };
        ConditionType::VARIANTS.iter().map(|kind| cell(*kind)).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn each_state_has_the_conditions_of_the_table() {
        let classified =
            |reason, asks_for_a_pin| ObjectState::Classified { reason, asks_for_a_pin, invalid_request: false };
        let rows = [
            (
                classified(PlacementReason::AboveCut, false),
                "True/Valid | True/AboveCut | True/Classified | – | – | – | –",
            ),
            (classified(PlacementReason::Held, false), "True/Valid | True/Held | True/Classified | – | – | – | –"),
            (
                classified(PlacementReason::BelowCut, false),
                "True/Valid | True/BelowCut | True/Classified | – | – | – | –",
            ),
            (
                classified(PlacementReason::NeverUsed, false),
                "True/Valid | True/NeverUsed | True/Classified | – | – | – | –",
            ),
            (
                classified(PlacementReason::CapIsZero, false),
                "True/Valid | True/CapIsZero | True/Classified | – | – | – | –",
            ),
            (
                classified(PlacementReason::Pinned, true),
                "True/Valid | True/Pinned | True/Classified | – | True/Pinned | – | –",
            ),
            (
                classified(PlacementReason::BelowCut, true),
                "True/Valid | True/BelowCut | True/Classified | – | False/TooManyPinned | – | –",
            ),
            // Another object of its server is pinned.
            (classified(PlacementReason::Pinned, false), "True/Valid | True/Pinned | True/Classified | – | – | – | –"),
            (
                ObjectState::Classified { reason: PlacementReason::Held, asks_for_a_pin: false, invalid_request: true },
                "True/Valid | True/Held | True/Classified | – | – | False/InvalidRefreshRequest | –",
            ),
            (ObjectState::AwaitingUsage, "True/Valid | Unknown/AwaitingUsage | True/Registered | – | – | – | –"),
            (ObjectState::UsageIncomplete, "True/Valid | Unknown/UsageIncomplete | True/Registered | – | – | – | –"),
            (ObjectState::Suspended, "True/Valid | Unknown/Suspended | True/Registered | – | – | – | –"),
            (ObjectState::Disabled, "True/Valid | False/Disabled | True/Disabled | – | – | – | –"),
            (
                ObjectState::Refused(RefusalReason::CredentialInUrl),
                "False/CredentialInUrl | False/NotAccepted | False/CredentialInUrl | True/CredentialInUrl | – | – | –",
            ),
            (
                ObjectState::Refused(RefusalReason::DuplicateGatewayId),
                concat!(
                    "False/DuplicateGatewayId | False/NotAccepted | False/DuplicateGatewayId | ",
                    "True/DuplicateGatewayId | – | – | –"
                ),
            ),
        ];
        for (state, expected) in rows {
            assert_eq!(row(state), expected);
        }
    }
}
