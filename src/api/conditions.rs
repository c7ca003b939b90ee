//! The condition types, statuses and reasons of both resources, which are stable (`docs/contract.md#conditions`), and
//! the message of each reason. Messages contain no changing numbers and no error texts. Pure.

use strum::EnumMessage;

/// The `type` of a condition, in the order in which conditions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray)]
pub enum ConditionType {
    /// The spec is usable.
    Accepted,
    /// The server has a tier.
    Classified,
    /// The operator has processed the object, whether it is enabled or not.
    Ready,
    /// The object is not accepted until a person changes it; only where true.
    Stalled,
    /// The server is pinned; only where `spec.polling.tier` asks for that and the server has a tier.
    Pinned,
    /// A refresh is requested; only where the request cannot be read, and the server has a tier.
    RefreshRequested,
    /// The server is registered in `ContextForge` as `spec.registration` says; only where there is one.
    Registered,
}

/// The `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::AsRefStr, strum::Display, strum::EnumString)]
pub enum ConditionStatus {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

/// The `reason` of a condition. The comment on each is its message.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumMessage,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[expect(clippy::doc_markdown, reason = "the comments are the messages")]
pub enum Reason {
    /// Waiting for the operator
    Pending,
    /// The spec is usable
    Valid,
    /// The URL does not have the required shape, or the spec does not parse.
    #[strum(message = "spec.url is invalid: use http:// or https:// with a host, at most 767 printable characters, \
                       no blanks and no #fragment, and in the query no ; and no % in a name")]
    InvalidUrl,
    /// The user info or the query of the URL contains a credential.
    #[strum(message = "spec.url contains a credential: remove it and set it as the gateway's authentication for this \
                       server; if it is none, add the name of the query parameter to spec.allowedQueryNames")]
    CredentialInUrl,
    /// An older McpGateway has this spec.gatewayId for another URL: change or remove the id on one of them
    DuplicateGatewayId,
    /// Hot: among the most recently used servers of the fleet
    AboveCut,
    /// Hot: kept while a worker endpoint that reported its use is silent
    Held,
    /// Hot: pinned by spec.polling.tier of an object, beside the servers that are hot by their use
    Pinned,
    /// Not pinned: older objects pin as many servers as --max-pinned allows; the use of the server decides
    TooManyPinned,
    /// The annotation mcpgateway.io/refresh-requested is not an RFC 3339 time: correct or remove it
    InvalidRefreshRequest,
    /// Cold: other servers were used more recently
    BelowCut,
    /// Cold: no worker has reported a use of the server
    NeverUsed,
    /// Cold: the registry has too few servers for any to be hot (see --min-hot)
    CapIsZero,
    /// Not classified yet: the workers have not been asked about the server; polled at the full rate
    AwaitingUsage,
    /// Not classified: too little usage is reported (see the McpGatewayFleet); polled at the full rate
    UsageIncomplete,
    /// Not classified: the fleet is suspended (spec.suspend of the McpGatewayFleet); polled at the full rate
    Suspended,
    /// Not classified: spec.enabled is false
    Disabled,
    /// Not classified: see the Accepted condition
    NotAccepted,
    /// Registered and classified
    Classified,
    /// Registered; not classified
    Registered,
    /// ContextForge cannot connect to the server: check spec.url, and whether ContextForge may reach it
    UpstreamUnreachable,
    /// The server does not accept the credentials: check the Secret of spec.registration.auth
    UpstreamUnauthorized,
    /// Another gateway of ContextForge has this name: remove it, or use another spec.registration.name in a new object
    NameConflict,
    /// Another gateway of ContextForge has this URL and these credentials: remove it, or adopt it with spec.gatewayId
    UrlConflict,
    /// A tool of the server would have the name of an existing one: use another spec.registration.name in a new object
    ToolNameConflict,
    /// ContextForge refuses the registration: change spec.registration or spec.url
    Rejected,
    /// The entry in ContextForge belongs to another user: give it to the user of the operator, or remove it
    NotOwner,
    /// The credentials cannot be used: check label, annotation and content of the Secret
    CredentialsInvalid,
    /// The Secret or ConfigMap of spec.registration, or a key in it, does not exist: create it
    SecretMissing,
    /// ContextForge keeps a part of the former entry: check who else changes it
    UpdateNotApplied,
    /// ContextForge does not answer the operator: see the log of the operator
    ContextForgeUnreachable,
    /// ContextForge limits the requests of the operator: lower --contextforge-requests-per-minute
    RateLimited,
    /// ContextForge refuses the token of the operator: check it and its permissions
    Unauthorized,
    /// The settings of the operator do not allow this registration: see --registration-namespace and its other flags
    NotAllowed,
    /// The operator registers nothing: set --contextforge-url, or remove spec.registration
    NotConfigured,
}

impl Reason {
    /// What the reason means and, if a person must act, what to do.
    pub fn message(self) -> &'static str {
        self.get_message().or_else(|| self.get_documentation()).unwrap_or_default()
    }
}

/// The `type` of a condition of an `McpGatewayFleet`, in the order in which conditions are written. The reasons are
/// listed in `docs/contract.md#the-fleet-object`; a repeated failure has its own ([`crate::model::ProblemReason`],
/// [`crate::classify::memory::UsageGap`], [`crate::publish::Error`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::AsRefStr, strum::Display, strum::VariantArray)]
pub enum FleetConditionType {
    /// The operator does what the spec asks for.
    Ready,
    /// Every worker endpoint reports.
    UsageComplete,
    /// Gateways find the current classification in Redis.
    Published,
    /// Gateways poll by what is published.
    Obeyed,
    /// The `McpGateway` objects can be listed and watched.
    RegistryRead,
    /// The registry has not lost most of its objects at once.
    RegistryStable,
    /// The operator has every permission that it needs.
    Permitted,
    /// `McpGateway` statuses can be written.
    StatusesWritten,
    /// The clocks of the operator, the API server, Redis and the workers agree.
    ClocksAgree,
    /// The emergency brake is on.
    Suspended,
    /// A person must act; only where true.
    Stalled,
}

/// The reason of `UsageComplete=False` while servers are classified although some endpoints are silent. With the other
/// reasons, those of [`crate::classify::memory::UsageGap`], nothing is classified.
pub const ENDPOINTS_SILENT: &str = "EndpointsSilent";
/// The reason of `RegistryStable=False`.
pub const MOST_GATEWAYS_GONE: &str = "MostGatewaysGone";
/// The reason of `ClocksAgree=False`.
pub const CLOCK_SKEWED: &str = "ClockSkewed";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::*;

    #[test]
    fn every_reason_has_a_message_of_its_own() {
        let mut messages = BTreeSet::new();
        for &reason in Reason::VARIANTS {
            assert_eq!(reason.to_string().parse(), Ok(reason));
            let message = reason.message();
            assert!(messages.insert(message), "{reason:?} has the message of another reason: {message}");
            // One sentence that says more than the reason: the reason is in the column beside it.
            assert!(message.split(' ').count() > 2 && !message.contains('\n') && !message.ends_with('.'), "{message}");
            assert!(message.starts_with(|c: char| c.is_ascii_uppercase()) || message.starts_with("spec."), "{message}");
            // A number that changes would cause a status write in every cycle.
            assert!(
                !message.contains(|c: char| c.is_ascii_digit())
                    || [Reason::InvalidUrl, Reason::InvalidRefreshRequest].contains(&reason),
                "{message}"
            );
        }
        assert!("Nonsense".parse::<Reason>().is_err());
    }

    #[test]
    fn messages_begin_with_the_tier_and_name_the_field_to_change() {
        use Reason::{
            AboveCut, AwaitingUsage, BelowCut, CapIsZero, Classified, ContextForgeUnreachable, CredentialInUrl,
            CredentialsInvalid, Disabled, DuplicateGatewayId, Held, InvalidRefreshRequest, InvalidUrl, NameConflict,
            NeverUsed, NotAccepted, NotAllowed, NotConfigured, NotOwner, Pending, Pinned, RateLimited, Registered,
            Rejected, SecretMissing, Suspended, TooManyPinned, ToolNameConflict, Unauthorized, UpdateNotApplied,
            UpstreamUnauthorized, UpstreamUnreachable, UrlConflict, UsageIncomplete, Valid,
        };
        for &reason in Reason::VARIANTS {
            let message = reason.message();
            let expected = match reason {
                AboveCut | Held | Pinned => message.starts_with("Hot: "),
                BelowCut | NeverUsed | CapIsZero => message.starts_with("Cold: "),
                AwaitingUsage => message.starts_with("Not classified yet: "),
                UsageIncomplete | Suspended | Disabled | NotAccepted => message.starts_with("Not classified: "),
                InvalidUrl | CredentialInUrl => message.starts_with("spec.url ") && message.contains(": "),
                DuplicateGatewayId => message.contains("spec.gatewayId") && message.contains(": change "),
                InvalidRefreshRequest => {
                    message.contains(crate::api::REFRESH_REQUESTED) && message.contains(": correct ")
                }
                TooManyPinned => message.starts_with("Not pinned: "),
                UpstreamUnreachable
                | UpstreamUnauthorized
                | NameConflict
                | UrlConflict
                | ToolNameConflict
                | Rejected
                | NotOwner
                | CredentialsInvalid
                | SecretMissing
                | UpdateNotApplied
                | ContextForgeUnreachable
                | RateLimited
                | Unauthorized
                | NotAllowed
                | NotConfigured => message.contains(": "),
                Pending | Valid | Classified | Registered => !message.contains("Hot") && !message.contains("Cold"),
            };
            assert!(expected, "{reason:?}: {message}");
        }
    }

    #[test]
    fn condition_types_and_statuses_are_parsed() {
        for &kind in ConditionType::VARIANTS {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for text in ["True", "False", "Unknown"] {
            assert_eq!(text.parse().map(|status: ConditionStatus| status.to_string()), Ok(text.to_owned()));
        }
    }
}
