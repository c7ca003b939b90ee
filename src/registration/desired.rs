//! What an entry of `ContextForge` should be. Pure: the spec of an object and the values of its Secret in, the content
//! of a create or an update out.
//!
//! Secrets are in [`SecretText`], which no formatting shows.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::api::v1alpha1::registration::{RegistrationSpec, Transport, Visibility};
use crate::contextforge::entry::Entry;
use crate::model::{ObjectName, ServerUrl};

/// The longest name in `ContextForge`.
const NAME_MAX_CHARS: usize = 255;

/// A value of a Secret. [`fmt::Debug`] does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// A value of a Secret.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The value, for the body of a request. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What `ContextForge` sends to the server to identify itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// No credentials.
    #[default]
    None,
    /// A bearer token.
    Bearer(SecretText),
    /// A user name and a password.
    Basic {
        /// The user name.
        username: SecretText,
        /// The password.
        password: SecretText,
    },
    /// Headers, by name.
    Headers(Vec<(String, SecretText)>),
    /// A parameter of the query.
    QueryParameter {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretText,
    },
    /// Tokens by the client-credentials grant.
    OauthClientCredentials {
        /// Where tokens are issued.
        token_url: String,
        /// The id of the client.
        client_id: SecretText,
        /// The secret of the client.
        client_secret: SecretText,
        /// Scopes to ask for.
        scopes: Vec<String>,
    },
}

impl Credentials {
    /// `authType` of `ContextForge`, as entries have it; `None` for no credentials.
    pub const fn auth_type(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Bearer(_) => Some("bearer"),
            Self::Basic { .. } => Some("basic"),
            Self::Headers(_) => Some("authheaders"),
            Self::QueryParameter { .. } => Some("query_param"),
            Self::OauthClientCredentials { .. } => Some("oauth"),
        }
    }

    /// All values that must not be shown.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(value) | Self::QueryParameter { value, .. } => vec![value.expose()],
            Self::Basic { username: one, password: two }
            | Self::OauthClientCredentials { client_id: one, client_secret: two, .. } => {
                vec![one.expose(), two.expose()]
            }
            Self::Headers(headers) => headers.iter().map(|(_, value)| value.expose()).collect(),
        }
    }
}

/// What an entry should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredGateway {
    /// The display name.
    pub name: String,
    /// The URL of the object. `ContextForge` stores [`Self::stored_url`].
    pub url: ServerUrl,
    /// Plain text; empty for none.
    pub description: String,
    /// How the server speaks MCP.
    pub transport: Transport,
    /// Sorted.
    pub tags: Vec<String>,
    /// Who sees it.
    pub visibility: Visibility,
    /// The team that sees it.
    pub team_id: Option<String>,
    /// Headers that are passed on.
    pub passthrough_headers: Vec<String>,
    /// What `ContextForge` sends.
    pub credentials: Credentials,
    /// Certificates in PEM; empty for the CAs of `ContextForge`.
    pub ca_certificate: String,
}

/// A part of an entry that is compared. Credentials cannot be: `ContextForge` masks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `name`.
    Name,
    /// `url`.
    Url,
    /// `description`.
    Description,
    /// `transport`.
    Transport,
    /// `tags`.
    Tags,
    /// `visibility`.
    Visibility,
    /// `teamId`.
    Team,
    /// `passthroughHeaders`.
    PassthroughHeaders,
    /// `authType`.
    AuthType,
    /// `caCertificate`.
    CaCertificate,
}

impl Field {
    /// Its name in `ContextForge`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Url => "url",
            Self::Description => "description",
            Self::Transport => "transport",
            Self::Tags => "tags",
            Self::Visibility => "visibility",
            Self::Team => "teamId",
            Self::PassthroughHeaders => "passthroughHeaders",
            Self::AuthType => "authType",
            Self::CaCertificate => "caCertificate",
        }
    }
}

impl DesiredGateway {
    /// What the entry of an object should be.
    pub fn new(
        spec: &RegistrationSpec,
        object: &ObjectName,
        url: ServerUrl,
        credentials: Credentials,
        ca_certificate: String,
    ) -> Self {
        let mut tags = spec.tags.clone();
        tags.sort_unstable();
        Self {
            name: effective_name(spec.name.as_deref(), object),
            url,
            description: spec.description.clone().unwrap_or_default(),
            transport: spec.transport,
            tags,
            visibility: spec.visibility,
            team_id: spec.team_id.clone(),
            passthrough_headers: spec.passthrough_headers.clone(),
            credentials,
            ca_certificate,
        }
    }

    /// The URL as `ContextForge` stores it.
    pub fn stored_url(&self) -> String {
        stored_url(self.url.expose())
    }

    /// `transport` of `ContextForge`.
    pub fn transport_name(&self) -> &'static str {
        self.transport.into()
    }

    /// `visibility` of `ContextForge`.
    pub fn visibility_name(&self) -> &'static str {
        self.visibility.into()
    }

    /// Where an entry differs.
    pub fn differences(&self, entry: &Entry) -> Vec<Field> {
        let same = [
            (Field::Name, self.name == entry.name),
            (Field::Url, self.stored_url() == entry.url),
            (Field::Description, self.description == entry.description),
            (Field::Transport, self.transport_name() == entry.transport),
            (Field::Tags, self.tags == entry.tags),
            (Field::Visibility, self.visibility_name() == entry.visibility),
            // Only a team's entry needs one; that of another cannot be taken away.
            (Field::Team, self.team_id.is_none() || self.team_id == entry.team_id),
            (
                Field::PassthroughHeaders,
                // Unset is the default of the installation, which may pass on more than nothing.
                entry.passthrough_headers.as_ref() == Some(&self.passthrough_headers),
            ),
            (Field::AuthType, self.credentials.auth_type() == entry.auth_type.as_deref()),
            (Field::CaCertificate, self.ca_certificate.trim() == entry.ca_certificate.trim()),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect()
    }
}

/// `spec.registration.name`, or the name of the object with that of its namespace. A name that is too long is cut, and
/// ends in a part of the hash of the whole one.
pub fn effective_name(given: Option<&str>, object: &ObjectName) -> String {
    let name = given.map_or_else(|| format!("{}-{}", object.namespace, object.name), str::to_owned);
    if name.len() <= NAME_MAX_CHARS {
        return name;
    }
    let hash = Sha256::digest(object.to_string());
    let digits = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    format!("{}-{digits:08x}", &name[..NAME_MAX_CHARS - 9])
}

/// A URL as `ContextForge` stores it: `127.0.0.1` becomes `localhost`, and the rest stays.
pub fn stored_url(url: &str) -> String {
    const LOOPBACK: &str = "://127.0.0.1";
    match url.split_once(LOOPBACK) {
        Some((scheme, rest)) if !scheme.contains('/') && (rest.is_empty() || rest.starts_with([':', '/', '?'])) => {
            format!("{scheme}://localhost{rest}")
        }
        _ => url.to_owned(),
    }
}

/// The origins (scheme, host, port) to which the values of the Secret of this spec are sent. A URL that has none
/// becomes a text that no list of origins allows.
pub fn credential_origins(spec: &RegistrationSpec, url: &ServerUrl) -> Vec<String> {
    let oauth = spec.auth.as_ref().and_then(|auth| auth.oauth_client_credentials.as_ref());
    let token_url = oauth.map(|auth| auth.token_url.as_str());
    let needed = |text| origin(text).unwrap_or_else(|| "a URL with an invalid port".to_owned());
    [url.expose()].into_iter().chain(token_url).map(needed).collect()
}

/// `scheme://host:port` of an http or https URL, in lower case and with the default port written out.
pub fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[bracket..].rfind(':') {
        Some(at) => (&authority[..bracket + at], &authority[bracket + at + 1..]),
        None => (&authority[..], default_port),
    };
    let fits = !host.is_empty() && !host.contains('@') && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    // Leading zeros are no other port.
    let port: u16 = port.parse().ok().filter(|_| fits)?;
    Some(format!("{scheme}://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::registration::{OauthAuth, RegistrationAuth};

    fn url(text: &str) -> ServerUrl {
        ServerUrl::parse(text).unwrap()
    }

    #[test]
    fn the_default_name_is_that_of_namespace_and_object_and_never_too_long() {
        let object = ObjectName::new("team-a", "github");
        assert_eq!(effective_name(None, &object), "team-a-github");
        assert_eq!(effective_name(Some("GitHub"), &object), "GitHub");
        let long = |last: char| effective_name(None, &ObjectName::new("n", &format!("{}{last}", "m".repeat(254))));
        assert_eq!(long('a').len(), 255);
        assert_ne!(long('a'), long('b'));
        assert_eq!(effective_name(None, &ObjectName::new("n", &"m".repeat(253))), format!("n-{}", "m".repeat(253)));
    }

    #[test]
    fn only_the_loopback_address_is_stored_otherwise() {
        for (given, stored) in [
            ("http://127.0.0.1:9/mcp", "http://localhost:9/mcp"),
            ("http://127.0.0.1", "http://localhost"),
            ("http://127.0.0.1.example/x", "http://127.0.0.1.example/x"),
            ("http://h/http://127.0.0.1/", "http://h/http://127.0.0.1/"),
            ("https://h/mcp?x=1", "https://h/mcp?x=1"),
        ] {
            assert_eq!(stored_url(given), stored);
        }
    }

    #[test]
    fn origins_are_compared_with_their_port() {
        for (text, expected) in [
            ("https://H.example/mcp", Some("https://h.example:443")),
            ("http://h?x=1", Some("http://h:80")),
            ("http://h:8080/a:9@b", Some("http://h:8080")),
            ("https://[::1]:0443/", Some("https://[::1]:443")),
            ("https://[::1]", Some("https://[::1]:443")),
            ("https://u@h/", None),
            ("ftp://h/", None),
            ("https://h:/", None),
            ("https://h:99999/", None),
            ("h/x", None),
        ] {
            assert_eq!(origin(text).as_deref(), expected, "{text}");
        }
        let auth = OauthAuth {
            secret_name: "s".into(),
            token_url: "https://issuer.example/token".into(),
            client_id_key: "i".into(),
            client_secret_key: "k".into(),
            scopes: Vec::new(),
        };
        let auth = RegistrationAuth { oauth_client_credentials: Some(auth), ..RegistrationAuth::default() };
        let spec = RegistrationSpec { auth: Some(auth), ..RegistrationSpec::default() };
        let both = ["https://h.example:443", "https://issuer.example:443"];
        assert_eq!(credential_origins(&spec, &url("https://h.example/mcp")), both);
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = || SecretText::new("planted".into());
        for credentials in [
            Credentials::Bearer(secret()),
            Credentials::Basic { username: secret(), password: secret() },
            Credentials::Headers(vec![("X-A".into(), secret())]),
            Credentials::QueryParameter { name: "k".into(), value: secret() },
            Credentials::OauthClientCredentials {
                token_url: "https://i/t".into(),
                client_id: secret(),
                client_secret: secret(),
                scopes: Vec::new(),
            },
        ] {
            assert!(credentials.secrets().iter().all(|text| *text == "planted") && !credentials.secrets().is_empty());
            let object = ObjectName::new("a", "b");
            let spec = RegistrationSpec::default();
            let desired = DesiredGateway::new(&spec, &object, url("https://h/?x=planted"), credentials, String::new());
            assert!(!format!("{desired:?}").contains("planted"), "{desired:?}");
        }
    }
}
