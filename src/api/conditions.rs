//! The vocabulary of conditions: types, statuses and reasons, which are stable and documented (SPEC section 1), with
//! the message of each reason. A message holds no number that moves and no text of an error: it would make a write
//! of every cycle. Pure.

/// The `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The spec is usable.
    Accepted,
    /// It has a tier.
    Classified,
    /// The operator has taken it in, whether enabled or not.
    Ready,
    /// It cannot be taken in until somebody changes it; only where true.
    Stalled,
}

impl ConditionType {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Classified, Self::Ready, Self::Stalled];

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Classified => "Classified",
            Self::Ready => "Ready",
            Self::Stalled => "Stalled",
        }
    }

    /// Reads the spelling of [`ConditionType::as_str`].
    #[must_use]
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
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Reads the spelling of [`ConditionStatus::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::True, Self::False, Self::Unknown].into_iter().find(|known| known.as_str() == text)
    }
}

/// The `reason` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Ready before the operator has seen the object; the default of the CRD, never written.
    Pending,
    /// Accepted.
    Valid,
    /// Not accepted: the URL is not of the allowed shape, or the spec cannot be read.
    InvalidUrl,
    /// Not accepted: a credential stands in the URL.
    CredentialInUrl,
    /// Not accepted: an older object has this gateway id for another URL.
    DuplicateGatewayId,
    /// Hot: among the most recently used.
    AboveCut,
    /// Hot: a worker that knew of its use is silent.
    Held,
    /// Cold: others were used more recently.
    BelowCut,
    /// Cold: never used.
    NeverUsed,
    /// Cold: too few servers for any to be hot.
    CapIsZero,
    /// Not classified yet.
    AwaitingUsage,
    /// Not classified any more: too little is known of the use of the fleet.
    UsageIncomplete,
    /// Not classified: disabled.
    Disabled,
    /// Not classified: not accepted.
    NotAccepted,
    /// Ready with a tier.
    Classified,
    /// Ready without a tier.
    Registered,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 16] = [
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
        Self::Disabled,
        Self::NotAccepted,
        Self::Classified,
        Self::Registered,
    ];

    /// As written.
    #[must_use]
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
            Self::Disabled => "Disabled",
            Self::NotAccepted => "NotAccepted",
            Self::Classified => "Classified",
            Self::Registered => "Registered",
        }
    }

    /// Reads the spelling of [`Reason::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }

    /// The sentence that goes with it: what it means and, where something is wrong, what to do.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Pending => "Waiting for the operator",
            Self::Valid => "The server is part of what the operator knows",
            Self::InvalidUrl => {
                "spec.url is not usable: write http:// or https:// with a host, at most 767 printable characters, no blanks and no #fragment"
            }
            Self::CredentialInUrl => {
                "spec.url carries a credential: take it out and give it to the gateway as its authentication setting"
            }
            Self::DuplicateGatewayId => {
                "An older McpGateway has this spec.gatewayId for another URL: change or remove the id on one of them"
            }
            Self::AboveCut => "Hot: among the most recently used servers of the fleet",
            Self::Held => "Hot: kept so while a worker endpoint that knew of its use is silent",
            Self::BelowCut => "Cold: other servers were used more recently",
            Self::NeverUsed => "Cold: no worker has reported a use of it",
            Self::CapIsZero => "Cold: the registry has too few servers for any to be hot (see --min-hot)",
            Self::AwaitingUsage => {
                "Not classified yet: the workers have not all been asked about it; it is polled at the full rate"
            }
            Self::UsageIncomplete => {
                "Not classified: too few workers report their use; it is polled at the full rate (see the fleet's status)"
            }
            Self::Disabled => "Not classified: spec.enabled is false",
            Self::NotAccepted => "Not classified: see the condition Accepted",
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
    fn condition_types_and_statuses_read_back() {
        for kind in ConditionType::ALL {
            assert_eq!(ConditionType::parse(kind.as_str()), Some(kind));
        }
        for text in ["True", "False", "Unknown"] {
            assert_eq!(ConditionStatus::parse(text).map(ConditionStatus::as_str), Some(text));
        }
    }
}
