//! What an object asks to be registered beside what `ContextForge` has, or what the status says of it. Pure. Of
//! credentials it knows the kind only.

use serde::Serialize;

use crate::api::conditions::ConditionType;
use crate::api::v1alpha1::registration::{RegistrationAuth, RegistrationStatus};
use crate::contextforge::call_error::scrubbed;
use crate::contextforge::entry::Entry;
use crate::model::GatewayId;
use crate::registration::desired::{Credentials, DesiredGateway, Field, SecretText};
use crate::registry::{GatewayRecord, RequestedRegistration};

/// What `ContextForge` says of the entry of the object.
#[derive(Debug)]
pub enum EntryAnswer {
    /// `--contextforge-url` was not given, or the object has no entry.
    NotAsked,
    /// There was no usable answer, and why.
    Failed(String),
    /// There is no such entry that the token can see.
    Missing(GatewayId),
    /// The entry.
    Found(Box<Entry>),
}

/// The registration of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationView {
    /// The reason of the condition `Registered`, or `Pending`.
    pub reason: &'static str,
    /// The entry, as `ContextForge` has it or as the status says.
    pub entry: Option<EntryView>,
    /// What is wanted and what is there; empty if `ContextForge` was not asked.
    pub fields: Vec<FieldView>,
    /// Why `ContextForge` has not said what is there.
    pub not_observed: Option<String>,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    pub id: String,
    pub version: Option<i64>,
    pub tools: Option<i64>,
    pub reachable: Option<bool>,
    /// As last written to the status.
    pub last_error: Option<String>,
}

/// One part of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldView {
    pub field: &'static str,
    pub desired: String,
    pub observed: String,
    pub differs: bool,
}

/// The registration that an object asks for; `None` if it asks for none.
pub(super) fn view(record: &GatewayRecord, answer: &EntryAnswer) -> Option<RegistrationView> {
    let requested = record.registration()?;
    let registered = record.status.condition(ConditionType::Registered).filter(|condition| condition.current);
    let status = record.registration_status();
    let (entry, fields) = match answer {
        EntryAnswer::Found(entry) => (Some(observed(entry, status)), compare(record, requested, entry)),
        EntryAnswer::NotAsked | EntryAnswer::Failed(_) => (status.and_then(written), Vec::new()),
        EntryAnswer::Missing(_) => (None, Vec::new()),
    };
    let not_observed = match answer {
        EntryAnswer::NotAsked | EntryAnswer::Found(_) => None,
        EntryAnswer::Failed(why) => Some(why.clone()),
        EntryAnswer::Missing(id) => Some(format!("the token sees no entry with the id {id}")),
    };
    let reason = registered.and_then(|condition| condition.reason).map_or("Pending", Into::into);
    Some(RegistrationView { reason, entry, fields, not_observed })
}

fn written(status: &RegistrationStatus) -> Option<EntryView> {
    let RegistrationStatus { id, version, tools, reachable, last_error, .. } = status.clone();
    Some(EntryView { id: id?, version, tools, reachable, last_error })
}

fn observed(entry: &Entry, status: Option<&RegistrationStatus>) -> EntryView {
    EntryView {
        id: entry.id.to_string(),
        version: Some(entry.version),
        tools: entry.tools.and_then(|tools| i64::try_from(tools).ok()),
        reachable: Some(entry.reachable),
        last_error: status.and_then(|status| status.last_error.clone()),
    }
}

fn compare(record: &GatewayRecord, requested: &RequestedRegistration, entry: &Entry) -> Vec<FieldView> {
    let RequestedRegistration { spec, url, enabled, .. } = requested;
    // Neither Secrets nor ConfigMaps are read here.
    let credentials = spec.auth.as_ref().map(kind).unwrap_or_default();
    let desired = DesiredGateway::new(spec, &record.name, url.clone(), credentials, entry.ca_certificate.clone());
    let differing = desired.differences(entry);
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let or_none = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("none").to_owned();
    let passed_on = entry.passthrough_headers.as_deref().map_or_else(|| "the default".to_owned(), list);
    let state = |enabled: bool| if enabled { "true" } else { "false" }.to_owned();
    let values = [
        (Field::Name, desired.name.clone(), entry.name.clone()),
        (Field::Url, desired.stored_url(), entry.url.clone()),
        (Field::Description, or_none(Some(&desired.description)), or_none(Some(&entry.description))),
        (Field::Transport, desired.transport_name().to_owned(), entry.transport.clone()),
        (Field::Tags, list(&desired.tags), list(&entry.tags)),
        (Field::Visibility, desired.visibility_name().to_owned(), entry.visibility.clone()),
        (Field::Team, or_none(desired.team_id.as_deref()), or_none(entry.team_id.as_deref())),
        (Field::PassthroughHeaders, list(&desired.passthrough_headers), passed_on),
        (Field::AuthType, or_none(desired.credentials.auth_type()), or_none(entry.auth_type.as_deref())),
    ];
    let fields = values.into_iter().map(|(field, desired, observed)| FieldView {
        field: field.name(),
        desired: scrubbed(&desired, &[]),
        observed: scrubbed(&observed, &[]),
        differs: differing.contains(&field),
    });
    let switch = FieldView {
        field: "enabled",
        desired: state(*enabled),
        observed: state(entry.enabled),
        differs: *enabled != entry.enabled,
    };
    fields.chain([switch]).collect()
}

/// Credentials of the same kind, without values.
fn kind(auth: &RegistrationAuth) -> Credentials {
    let empty = || SecretText::new(String::new());
    match auth {
        RegistrationAuth { bearer: Some(_), .. } => Credentials::Bearer(empty()),
        RegistrationAuth { basic: Some(_), .. } => Credentials::Basic { username: empty(), password: empty() },
        RegistrationAuth { headers: Some(_), .. } => Credentials::Headers(Vec::new()),
        RegistrationAuth { query_parameter: Some(_), .. } => {
            Credentials::QueryParameter { name: String::new(), value: empty() }
        }
        RegistrationAuth { oauth_client_credentials: Some(_), .. } => Credentials::OauthClientCredentials {
            token_url: String::new(),
            client_id: empty(),
            client_secret: empty(),
            scopes: Vec::new(),
        },
        _ => Credentials::None,
    }
}
