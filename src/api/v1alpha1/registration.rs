//! `spec.registration` and `status.registration` of an `McpGateway`: what the operator registers in `ContextForge`.
//!
//! The rules refuse what `ContextForge` 1.1.0 would refuse, change or silently drop. The doc comments are what `kubectl
//! explain` prints.
#![expect(clippy::doc_markdown, reason = "`kubectl explain` prints these comments as they are")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::GatewayId;

/// How the operator registers the server in ContextForge.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(format!("!has(self.name) || self.name.matches('{NAME}')"))
        .message("use letters, digits, '_', '.', '-' and blanks, and begin with a letter or digit")
        .field_path(".name"),
    validation = Rule::new(format!("!has(self.description) || !self.description.matches(r'''{MARKUP}''')"))
        .message(
            "use plain text: no '<', '>' or percent-encoding, nothing that looks like a script, and no white space \
             at either end",
        )
        .field_path(".description"),
    validation = Rule::new("(has(self.visibility) && self.visibility == 'team') == has(self.teamId)")
        .message("teamId belongs to visibility team, and only to it")
        .field_path(".teamId"),
    validation = Rule::new(
        format!("!has(self.passthroughHeaders) || self.passthroughHeaders.all(name, name.matches('{PASSED_ON}') && \
         !(name.lowerAscii() in {CONNECTION_HEADERS:?}))")
    )
        .message("use names of headers: letters, digits and '-'; those of the connection are never passed on")
        .field_path(".passthroughHeaders")
)]
pub struct RegistrationSpec {
    /// The name in ContextForge, at most 255 letters, digits, '_', '.', '-' and blanks. It is part of the names of the
    /// server's tools, so it cannot be changed. By default NAMESPACE-NAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,

    /// Plain text for people, without markup.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub description: Option<String>,

    /// How the server speaks MCP.
    #[serde(default)]
    pub transport: Transport,

    /// Tags: 2 to 100 small letters, digits, '-', ':' and '.', with a letter or digit at either end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 2, max = 100), regex(pattern = TAG)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub tags: Vec<String>,

    /// Who sees the server in ContextForge.
    #[serde(default)]
    pub visibility: Visibility,

    /// The id of the team in ContextForge, for visibility team.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub team_id: Option<String>,

    /// Headers of clients' requests that ContextForge passes on to the server. Only those of the operator's
    /// --registration-allow-header: they may carry the credentials of users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub passthrough_headers: Vec<String>,

    /// The credentials that ContextForge sends to the server. Without it, ContextForge sends none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<RegistrationAuth>,

    /// The CA certificates that ContextForge trusts for this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSource>,

    /// What becomes of the entry in ContextForge when this object is deleted. Virtual servers lose the tools of a
    /// deleted entry, and do not get them back when it is registered again.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// The shape of a name. These patterns are RE2 for the API server, and `import` uses them too.
pub(crate) const NAME: &str = "^[A-Za-z0-9]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?$";
/// The shape of a tag.
pub(crate) const TAG: &str = "^[a-z0-9][a-z0-9:.-]*[a-z0-9]$";
/// The shape of the name of a header that is passed on.
pub(crate) const PASSED_ON: &str = "^[A-Za-z0-9-]+$";
/// Headers of one connection, which are never passed on.
pub(crate) const CONNECTION_HEADERS: [&str; 10] = [
    "content-type",
    "content-length",
    "host",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];
/// The shape of the name of a header with a credential.
pub(crate) const HEADER: &str = "^[A-Za-z0-9_-]+$";
/// The shape of the name of a query parameter with a credential.
pub(crate) const PARAMETER: &str = "^[A-Za-z_][A-Za-z0-9_-]*$";
/// The shape of a URL that issues tokens.
pub(crate) const TOKEN_URL: &str = "^https?://[A-Za-z0-9._~-]+(:[0-9]{1,5})?(/[!-~]*)?$";
/// The shape of a scope.
pub(crate) const SCOPE: &str = "^[!-~]+$";

/// What `ContextForge` refuses or removes in a description (1.1.0, with its default settings).
pub(crate) const MARKUP: &str = r#"^\s|\s$|[<>]|%[0-9A-Fa-f]{2}|(?i:(^|[\s"'`=])(javascript:|vbscript:|data:[^,]*(javascript|vbscript)|on[a-z]+\s*=)|["';].*alert\s*\(|["'].*//["']|string\.fromcharcode|javascript:.*\()"#;

/// How a server speaks MCP.
// strum has the names of ContextForge.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Transport {
    /// Streamable HTTP.
    #[default]
    StreamableHTTP,
    /// HTTP with server-sent events.
    SSE,
}

/// Who sees a server in ContextForge.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// The members of a team.
    Team,
    /// Only the operator's user.
    Private,
}

/// What becomes of the entry when the object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted too, by a finalizer.
    Delete,
}

/// The credentials for a server: one of these. All are read from a Secret in the namespace of the object. The Secret
/// needs the label mcpgateway.io/registration: "true", and the annotation mcpgateway.io/allowed-origins that lists the
/// scheme, host and port of every URL that its values may be sent to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.bearer), has(self.basic), has(self.headers), has(self.queryParameter), \
     has(self.oauthClientCredentials)].filter(given, given).size() == 1"
).message("give one of bearer, basic, headers, queryParameter and oauthClientCredentials"))]
pub struct RegistrationAuth {
    /// A bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// A user name and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// Headers of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersAuth>,
    /// A parameter in the query of the URL. ContextForge has to allow it (INSECURE_ALLOW_QUERYPARAM_AUTH).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_parameter: Option<QueryParameterAuth>,
    /// Tokens of an OAuth server, by the client-credentials grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth_client_credentials: Option<OauthAuth>,
}

/// A bearer token.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BearerAuth {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The key of the token in the Secret.
    #[serde(default = "token_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A user name and a password. A Secret of the type kubernetes.io/basic-auth has the keys that are the defaults.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The key of the user name in the Secret.
    #[serde(default = "username_key")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// The key of the password in the Secret.
    #[serde(default = "password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

/// Headers of one's own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.items.all(item, self.items.exists_one(other, other.name.lowerAscii() == item.name.lowerAscii()))"
).message("give each header once").field_path(".items"))]
pub struct HeadersAuth {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The headers.
    #[schemars(length(min = 1, max = 16))]
    pub items: Vec<HeaderItem>,
}

/// A header with its value from a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderItem {
    /// The name of the header: letters, digits, '-' and '_'.
    #[schemars(length(min = 1, max = 64), regex(pattern = HEADER))]
    pub name: String,
    /// The key of the value in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A parameter in the query of the URL.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryParameterAuth {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The name of the parameter: a letter or '_', then letters, digits, '_' and '-'.
    #[schemars(length(min = 1, max = 64), regex(pattern = PARAMETER))]
    pub name: String,
    /// The key of the value in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Tokens of an OAuth server, by the client-credentials grant.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(format!("self.tokenUrl.matches('{TOKEN_URL}')"))
    .message("use an http:// or https:// URL with a host and without credentials")
    .field_path(".tokenUrl"))]
pub struct OauthAuth {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The URL that issues tokens. The client's secret is sent there, so its origin has to be in the annotation of the
    /// Secret too.
    #[schemars(length(max = 767))]
    pub token_url: String,
    /// The key of the client's id in the Secret.
    #[serde(default = "client_id_key")]
    #[schemars(length(min = 1, max = 253))]
    pub client_id_key: String,
    /// The key of the client's secret in the Secret.
    #[serde(default = "client_secret_key")]
    #[schemars(length(min = 1, max = 253))]
    pub client_secret_key: String,
    /// Scopes to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253), regex(pattern = SCOPE)))]
    pub scopes: Vec<String>,
}

fn token_key() -> String {
    "token".to_owned()
}

fn username_key() -> String {
    "username".to_owned()
}

fn password_key() -> String {
    "password".to_owned()
}

fn client_id_key() -> String {
    "client-id".to_owned()
}

fn client_secret_key() -> String {
    "client-secret".to_owned()
}

impl RegistrationAuth {
    /// The name of the Secret that it reads.
    pub fn secret_name(&self) -> Option<&str> {
        let Self { bearer, basic, headers, query_parameter, oauth_client_credentials } = self;
        let name = bearer.as_ref().map(|auth| &auth.secret_name);
        let name = name.or_else(|| basic.as_ref().map(|auth| &auth.secret_name));
        let name = name.or_else(|| headers.as_ref().map(|auth| &auth.secret_name));
        let name = name.or_else(|| query_parameter.as_ref().map(|auth| &auth.secret_name));
        name.or_else(|| oauth_client_credentials.as_ref().map(|auth| &auth.secret_name)).map(String::as_str)
    }
}

/// Certificates in PEM, from a Secret or a ConfigMap in the namespace of the object. A Secret needs the label
/// mcpgateway.io/registration: "true".
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretName) != has(self.configMapName)")
    .message("give one of secretName and configMapName"))]
pub struct CaSource {
    /// The name of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// The name of the ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: Option<String>,
    /// The key of the certificates in it.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}

/// The entry in ContextForge, as the operator last saw it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationStatus {
    /// The id of the entry. Absent while the server is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The URL as ContextForge stores it, which is the one that gateways look up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The version of the entry after the operator's last change. Each change in ContextForge raises it, so a higher
    /// one is somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// How many tools the server offers, as of the last write of this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<i64>,
    /// Whether ContextForge reaches the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// Why ContextForge last failed to reach it, cut and without what may be secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The Secret whose values ContextForge has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AppliedCredentials>,
    /// That a create was about to be sent, and of which no id is known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_started: Option<CreateStarted>,
}

impl RegistrationStatus {
    /// The id of the entry, if there is one.
    pub fn entry_id(&self) -> Option<GatewayId> {
        GatewayId::parse(self.id.as_deref()?)
    }
}

/// The version of a Secret whose values were sent.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedCredentials {
    /// `metadata.uid` of the Secret.
    pub secret_uid: String,
    /// `metadata.resourceVersion` of the Secret.
    pub resource_version: String,
}

/// That a leader was about to register the server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateStarted {
    /// When it was recorded.
    pub time: Time,
    /// The term of the leader.
    pub term: i32,
}
