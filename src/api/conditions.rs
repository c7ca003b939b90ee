//! The condition types, statuses and reasons of an `McpGateway`, which are stable (`docs/contract.md#conditions`), and
//! the message of each reason. Messages contain no changing numbers and no error texts. Pure.

/// The `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The spec is usable.
    Accepted,
    /// The server has a tier.
    Classified,
    /// The operator has processed the object, whether it is enabled or not.
    Ready,
    /// The object is not accepted until a person changes it; only where true.
    Stalled,
}

impl ConditionType {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Classified, Self::Ready, Self::Stalled];

    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Classified => "Classified",
            Self::Ready => "Ready",
            Self::Stalled => "Stalled",
        }
    }

    /// The inverse of [`ConditionType::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// The `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

impl ConditionStatus {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// The inverse of [`ConditionStatus::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::True, Self::False, Self::Unknown].into_iter().find(|known| known.as_str() == text)
    }
}

/// The `reason` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Ready=Unknown: the operator has not seen the object yet. A default of the CRD that is never written.
    Pending,
    /// Accepted: the spec is usable.
    Valid,
    /// Not accepted: the URL does not have the required shape, or the spec does not parse.
    InvalidUrl,
    /// Not accepted: the URL contains a credential.
    CredentialInUrl,
    /// Not accepted: an older object has the same gateway id for another URL.
    DuplicateGatewayId,
    /// Hot: among the most recently used.
    AboveCut,
    /// Hot: an endpoint that reported its use does not report at present.
    Held,
    /// Cold: other servers were used more recently.
    BelowCut,
    /// Cold: never used.
    NeverUsed,
    /// Cold: there are too few servers for any to be hot.
    CapIsZero,
    /// Not classified yet: no collection has asked about the server.
    AwaitingUsage,
    /// Not classified any more: too little is known about the usage of the fleet.
    UsageIncomplete,
    /// Not classified: the fleet is suspended.
    Suspended,
    /// Not classified: the object is disabled.
    Disabled,
    /// Not classified: the object is not accepted.
    NotAccepted,
    /// Ready with a tier.
    Classified,
    /// Ready without a tier.
    Registered,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Pending,
        Self::Valid,
        Self::InvalidUrl,
        Self::CredentialInUrl,
        Self::DuplicateGatewayId,
        Self::AboveCut,
        Self::Held,
        Self::BelowCut,
        Self::NeverUsed,
        Self::CapIsZero,
        Self::AwaitingUsage,
        Self::UsageIncomplete,
        Self::Suspended,
        Self::Disabled,
        Self::NotAccepted,
        Self::Classified,
        Self::Registered,
    ];

    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Valid => "Valid",
            Self::InvalidUrl => "InvalidUrl",
            Self::CredentialInUrl => "CredentialInUrl",
            Self::DuplicateGatewayId => "DuplicateGatewayId",
            Self::AboveCut => "AboveCut",
            Self::Held => "Held",
            Self::BelowCut => "BelowCut",
            Self::NeverUsed => "NeverUsed",
            Self::CapIsZero => "CapIsZero",
            Self::AwaitingUsage => "AwaitingUsage",
            Self::UsageIncomplete => "UsageIncomplete",
            Self::Suspended => "Suspended",
            Self::Disabled => "Disabled",
            Self::NotAccepted => "NotAccepted",
            Self::Classified => "Classified",
            Self::Registered => "Registered",
        }
    }

    /// The inverse of [`Reason::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }

    /// What the reason means and, if a person must act, what to do.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Pending => "Waiting for the operator",
            Self::Valid => "The spec is usable",
            Self::InvalidUrl => {
                "spec.url is invalid: use http:// or https:// with a host, at most 767 printable characters, \
                 no blanks and no #fragment"
            }
            Self::CredentialInUrl => {
                "spec.url contains a credential: remove it and set it as the gateway's authentication for this server"
            }
            Self::DuplicateGatewayId => {
                "An older McpGateway has this spec.gatewayId for another URL: change or remove the id on one of them"
            }
            Self::AboveCut => "Hot: among the most recently used servers of the fleet",
            Self::Held => "Hot: kept while a worker endpoint that reported its use is silent",
            Self::BelowCut => "Cold: other servers were used more recently",
            Self::NeverUsed => "Cold: no worker has reported a use of the server",
            Self::CapIsZero => "Cold: the registry has too few servers for any to be hot (see --min-hot)",
            Self::AwaitingUsage => {
                "Not classified yet: the workers have not been asked about the server; polled at the full rate"
            }
            Self::UsageIncomplete => {
                "Not classified: too little usage is reported (see the McpGatewayFleet); polled at the full rate"
            }
            Self::Suspended => {
                "Not classified: the fleet is suspended (spec.suspend of the McpGatewayFleet); polled at the full rate"
            }
            Self::Disabled => "Not classified: spec.enabled is false",
            Self::NotAccepted => "Not classified: see the Accepted condition",
            Self::Classified => "Registered and classified",
            Self::Registered => "Registered; not classified",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_message_of_its_own() {
        let mut messages = BTreeSet::new();
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            let message = reason.message();
            assert!(messages.insert(message), "{reason:?} has the message of another reason: {message}");
            // One sentence that says more than the reason: the reason is in the column beside it.
            assert!(message.split(' ').count() > 2 && !message.contains('\n') && !message.ends_with('.'), "{message}");
            assert!(message.starts_with(|c: char| c.is_ascii_uppercase()) || message.starts_with("spec."), "{message}");
            // A number that changes would cause a status write in every cycle.
            assert!(!message.contains(|c: char| c.is_ascii_digit()) || reason == Reason::InvalidUrl, "{message}");
        }
        assert_eq!(Reason::parse("Nonsense"), None);
    }

    #[test]
    fn messages_begin_with_the_tier_and_name_the_field_to_change() {
        use Reason::{
            AboveCut, AwaitingUsage, BelowCut, CapIsZero, Classified, CredentialInUrl, Disabled, DuplicateGatewayId,
            Held, InvalidUrl, NeverUsed, NotAccepted, Pending, Registered, Suspended, UsageIncomplete, Valid,
        };
        for reason in Reason::ALL {
            let message = reason.message();
            let expected = match reason {
                AboveCut | Held => message.starts_with("Hot: "),
                BelowCut | NeverUsed | CapIsZero => message.starts_with("Cold: "),
                AwaitingUsage => message.starts_with("Not classified yet: "),
                UsageIncomplete | Suspended | Disabled | NotAccepted => message.starts_with("Not classified: "),
                InvalidUrl | CredentialInUrl => message.starts_with("spec.url ") && message.contains(": "),
                DuplicateGatewayId => message.contains("spec.gatewayId") && message.contains(": change "),
                Pending | Valid | Classified | Registered => !message.contains("Hot") && !message.contains("Cold"),
            };
            assert!(expected, "{reason:?}: {message}");
        }
    }

    #[test]
    fn condition_types_and_statuses_are_parsed() {
        for kind in ConditionType::ALL {
            assert_eq!(ConditionType::parse(kind.as_str()), Some(kind));
        }
        for text in ["True", "False", "Unknown"] {
            assert_eq!(ConditionStatus::parse(text).map(ConditionStatus::as_str), Some(text));
        }
    }
}
