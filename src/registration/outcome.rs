//! What the status of an object says of its registration (`docs/contract.md#registration-in-contextforge`). Pure: made
//! from the outcomes of [`super::reconcile`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::desired::Field;
use super::reconcile::{
    AdoptionRefusal, RegisteredEntry, RegistrationError, RegistrationOutcome, RegistrationState, SeenEntry,
};
use super::wanted::{KnownEntry, SecretVersion, SourceName, Unusable};
use crate::api::conditions::{ConditionStatus, Reason};
use crate::api::v1alpha1::registration::{AppliedCredentials, CreateStarted, RegistrationStatus};
use crate::contextforge::call_error::CallError;
use crate::model::{ObjectUid, Term, UnixTime};

/// The outcomes by the uid of the object.
pub type Outcomes = BTreeMap<ObjectUid, ObjectRegistration>;

/// The registration of one object, as its status should say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRegistration {
    /// The `metadata.generation` that it is about.
    pub generation: i64,
    /// The condition `Registered`.
    pub condition: RegisteredCondition,
    /// `status.registration`.
    pub status: RegistrationStatus,
}

/// The condition `Registered`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredCondition {
    /// `Unknown` while nothing is known of this object, because `ContextForge` connects or cannot be asked.
    pub status: ConditionStatus,
    /// The reason.
    pub reason: Reason,
    /// What it means and what to do.
    pub message: Cow<'static, str>,
    /// Whether the message repeats what others say, so that it may change with each attempt. It is not compared then.
    pub repeats: bool,
}

impl RegisteredCondition {
    /// The condition with the text that its reason has.
    pub fn new(reason: Reason) -> Self {
        use ConditionStatus::{False, True, Unknown};
        let status = match reason {
            Reason::Registered => True,
            Reason::Pending | Reason::ContextForgeUnreachable | Reason::RateLimited | Reason::Unauthorized => Unknown,
            _ => False,
        };
        let message = match reason {
            Reason::Registered => "Registered in ContextForge as spec.registration says",
            Reason::Pending => "Waiting for ContextForge",
            Reason::Disabled => "Not used by ContextForge: spec.enabled is false",
            other => other.message(),
        };
        Self { status, reason, message: message.into(), repeats: false }
    }

    /// Whether the condition is about the connection to `ContextForge` and not about this object: nothing is known of
    /// it that was not known before.
    pub const fn says_nothing_new(&self) -> bool {
        matches!(self.reason, Reason::ContextForgeUnreachable | Reason::RateLimited | Reason::Unauthorized)
    }

    fn detailed(reason: Reason, detail: String) -> Self {
        Self { message: detail.into(), ..Self::new(reason) }
    }

    /// The condition of a state; `None` once nothing is registered any more.
    fn of(state: &RegistrationState) -> Option<Self> {
        Some(match state {
            RegistrationState::Creating | RegistrationState::Pending => Self::new(Reason::Pending),
            RegistrationState::Waiting => {
                let why = "An earlier request to register the server may still take effect; waiting until it cannot";
                Self { message: why.into(), ..Self::new(Reason::Pending) }
            }
            RegistrationState::Registered => Self::new(Reason::Registered),
            RegistrationState::Disabled => Self::new(Reason::Disabled),
            RegistrationState::Failed(error) => Self::of_error(error),
            RegistrationState::Gone => return None,
        })
    }

    fn of_error(error: &RegistrationError) -> Self {
        match error {
            RegistrationError::Call(error) => Self::of_call(error),
            RegistrationError::Unusable(why) => Self::of_unusable(why),
            RegistrationError::NotApplied(fields) if fields.is_empty() => Self::new(Reason::UpdateNotApplied),
            RegistrationError::NotApplied(fields) => {
                let fields: Vec<&str> = fields.iter().copied().map(Field::name).collect();
                let detail = format!(
                    "ContextForge accepts the update but keeps other values of {}: check what else changes them",
                    fields.join(", ")
                );
                Self::detailed(Reason::UpdateNotApplied, detail)
            }
            RegistrationError::Adoption(refusal) => Self::of_refusal(refusal),
        }
    }

    fn of_call(error: &CallError) -> Self {
        // The error says what happened, in the words of others.
        let repeating = |reason, advice: &str| Self {
            repeats: true,
            ..Self::detailed(reason, format!("{}: {advice}", capitalized(&error.to_string())))
        };
        match error {
            CallError::Unreachable(_) | CallError::TimedOut | CallError::Server(_) | CallError::Unreadable(_) => {
                repeating(Reason::ContextForgeUnreachable, "see the log of the operator")
            }
            CallError::UpstreamUnreachable(_) => {
                repeating(Reason::UpstreamUnreachable, "check spec.url, and whether ContextForge may reach it")
            }
            CallError::Rejected(_) => repeating(Reason::Rejected, "change spec.registration or spec.url"),
            CallError::Unauthorized | CallError::Forbidden { owner: false } => Self::new(Reason::Unauthorized),
            CallError::Forbidden { owner: true } => Self::new(Reason::NotOwner),
            CallError::NameConflict => Self::new(Reason::NameConflict),
            CallError::UrlConflict => Self::new(Reason::UrlConflict),
            CallError::ToolNameConflict => Self::new(Reason::ToolNameConflict),
            CallError::UpstreamUnauthorized => Self::new(Reason::UpstreamUnauthorized),
            CallError::RateLimited { .. } => Self::new(Reason::RateLimited),
            CallError::NotFound => Self::new(Reason::Pending),
        }
    }

    fn of_unusable(why: &Unusable) -> Self {
        let invalid = |text: String| Self::detailed(Reason::CredentialsInvalid, text);
        match why {
            Unusable::SourceMissing(name) => {
                Self::detailed(Reason::SecretMissing, format!("There is no {name} in this namespace: create it"))
            }
            Unusable::KeyMissing(name, key) => {
                Self::detailed(Reason::SecretMissing, format!("{name} has no key {key}: add it"))
            }
            Unusable::SourceDenied(name) => invalid(format!(
                "The operator may not read {name}: list this namespace in the chart's \
                 contextForge.registration.secretNamespaces"
            )),
            Unusable::NotLabelled(name) => invalid(format!(
                "{name} is not meant for registrations: give it the label mcpgateway.io/registration: \"true\""
            )),
            Unusable::OriginNotAllowed(name, origin) => invalid(format!(
                "The values of {name} may not be sent to {origin}: add it to the annotation \
                 mcpgateway.io/allowed-origins of the Secret if it should have them"
            )),
            Unusable::BadValue(name @ SourceName::ConfigMap(_), key) => {
                invalid(format!("The key {key} of {name} does not hold certificates in PEM: correct it"))
            }
            Unusable::BadValue(name, key) => {
                invalid(format!("The value of the key {key} of {name} is empty or cannot be sent: correct it"))
            }
            Unusable::NamespaceNotAllowed => Self::detailed(
                Reason::NotAllowed,
                "The operator registers no server of this namespace: add it to --registration-namespace".to_owned(),
            ),
            Unusable::HeaderNotAllowed(header) => Self::detailed(
                Reason::NotAllowed,
                format!("The header {header} may not be passed on: add it to --registration-allow-header"),
            ),
            Unusable::FinalizerMissing => Self::detailed(
                Reason::NotAllowed,
                "The operator cannot add the finalizer that deletionPolicy Delete needs: grant it patch on mcpgateways"
                    .to_owned(),
            ),
        }
    }

    fn of_refusal(refusal: &AdoptionRefusal) -> Self {
        let text = match refusal {
            AdoptionRefusal::Missing => {
                "There is no entry with the id spec.gatewayId that the operator's token can see: correct the id, or \
                 remove it to have a new entry"
                    .to_owned()
            }
            AdoptionRefusal::OtherObject(object) => {
                format!("The entry was registered for the McpGateway {object}, which exists: remove spec.gatewayId")
            }
            AdoptionRefusal::SpokenFor => {
                "Another McpGateway has the entry of spec.gatewayId: remove spec.gatewayId on one of them".to_owned()
            }
            AdoptionRefusal::NotOurs => "The entry of spec.gatewayId was not made by this operator: list this \
                                         namespace in --adoption-namespace to let its objects adopt such entries"
                .to_owned(),
        };
        Self::detailed(Reason::NotOwner, text)
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// What the status of an object should say of an outcome. `before` is what it says, `term` and `now` those of an intent
/// to create. `None` once nothing is registered any more.
pub fn registration_of(
    outcome: &RegistrationOutcome,
    generation: i64,
    before: Option<&RegistrationStatus>,
    term: Term,
    now: UnixTime,
) -> Option<ObjectRegistration> {
    let condition = RegisteredCondition::of(&outcome.state)?;
    let before = before.cloned().unwrap_or_default();
    let status = match &outcome.entry {
        SeenEntry::Unseen => before,
        SeenEntry::None => {
            let create_started = match &outcome.state {
                RegistrationState::Creating => Some(CreateStarted { time: Time(now.timestamp()), term: term.get() }),
                RegistrationState::Disabled => None,
                _ => before.create_started,
            };
            RegistrationStatus { create_started, ..RegistrationStatus::default() }
        }
        SeenEntry::Entry(entry) => status_of(entry),
    };
    Some(ObjectRegistration { generation, condition, status })
}

fn status_of(entry: &RegisteredEntry) -> RegistrationStatus {
    let RegisteredEntry { known, url, tools, reachable, last_error } = entry;
    let credentials = known.credentials.as_ref();
    RegistrationStatus {
        id: Some(known.id.to_string()),
        url: url.clone(),
        version: known.version,
        tools: tools.and_then(|tools| i64::try_from(tools).ok()),
        reachable: Some(*reachable),
        last_error: last_error.clone(),
        credentials: credentials.map(|SecretVersion { uid, resource_version }| AppliedCredentials {
            secret_uid: uid.to_string(),
            resource_version: resource_version.to_string(),
        }),
        create_started: None,
    }
}

/// The entry that a status names. `enabled`: whether the operator last left it enabled, by the condition.
pub fn known_entry(status: &RegistrationStatus, enabled: bool) -> Option<KnownEntry> {
    let credentials = status.credentials.as_ref().map(|AppliedCredentials { secret_uid, resource_version }| {
        SecretVersion { uid: secret_uid.as_str().into(), resource_version: resource_version.as_str().into() }
    });
    let id = status.entry_id()?;
    Some(KnownEntry { id, version: status.version, credentials, enabled })
}

/// Whether a status has to be written because of its registration. `tools` and `lastError` are written along with
/// other changes only.
pub fn differs(before: Option<&RegistrationStatus>, target: Option<&RegistrationStatus>) -> bool {
    let compared = |status: &RegistrationStatus| {
        let RegistrationStatus { id, url, version, tools: _, reachable, last_error: _, credentials, create_started } =
            status.clone();
        (id, url, version, reachable, credentials, create_started.map(|started| started.term))
    };
    before.map(compared) != target.map(compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_condition_that_says_what_to_do() {
        let secret = || SourceName::Secret("github".into());
        let failed = |error| RegistrationState::Failed(error);
        let call = |error| failed(RegistrationError::Call(error));
        let unusable = |why| failed(RegistrationError::Unusable(why));
        for (state, status, reason, says) in [
            (RegistrationState::Creating, "Unknown", "Pending", "Waiting"),
            (RegistrationState::Waiting, "Unknown", "Pending", "may still take effect"),
            (RegistrationState::Registered, "True", "Registered", "Registered in ContextForge"),
            (RegistrationState::Disabled, "False", "Disabled", "spec.enabled"),
            (call(CallError::TimedOut), "Unknown", "ContextForgeUnreachable", "ContextForge did not answer: "),
            (call(CallError::Unauthorized), "Unknown", "Unauthorized", "token"),
            (call(CallError::Forbidden { owner: true }), "False", "NotOwner", "another user"),
            (call(CallError::NameConflict), "False", "NameConflict", "spec.registration.name"),
            (
                call(CallError::UpstreamUnreachable("refused".into())),
                "False",
                "UpstreamUnreachable",
                "(refused): check",
            ),
            (call(CallError::Rejected("private".into())), "False", "Rejected", "private: change"),
            (unusable(Unusable::SourceMissing(secret())), "False", "SecretMissing", "Secret github"),
            (
                unusable(Unusable::OriginNotAllowed(secret(), "https://h:443".into())),
                "False",
                "CredentialsInvalid",
                "https://h:443: add it to the annotation mcpgateway.io/allowed-origins",
            ),
            (unusable(Unusable::NamespaceNotAllowed), "False", "NotAllowed", "--registration-namespace"),
            (
                failed(RegistrationError::NotApplied(vec![Field::Tags, Field::Url])),
                "False",
                "UpdateNotApplied",
                "tags, url: check",
            ),
            (
                failed(RegistrationError::Adoption(AdoptionRefusal::NotOurs)),
                "False",
                "NotOwner",
                "--adoption-namespace",
            ),
        ] {
            let condition = RegisteredCondition::of(&state).unwrap();
            assert_eq!((condition.status.as_ref(), &*condition.reason.to_string()), (status, reason), "{state:?}");
            assert!(condition.message.contains(says), "{}", condition.message);
        }
        assert_eq!(RegisteredCondition::of(&RegistrationState::Gone), None);
    }

    #[test]
    fn tools_and_errors_are_written_along_only() {
        let status = RegistrationStatus { id: Some("a".into()), version: Some(1), ..RegistrationStatus::default() };
        let with = |edit: &dyn Fn(&mut RegistrationStatus)| {
            let mut edited = status.clone();
            edit(&mut edited);
            differs(Some(&status), Some(&edited))
        };
        assert!(!with(&|status| status.tools = Some(3)) && !with(&|status| status.last_error = Some("x".into())));
        assert!(with(&|status| status.reachable = Some(true)) && with(&|status| status.version = Some(2)));
        assert!(differs(Some(&status), None) && !differs(None, None));
    }
}
