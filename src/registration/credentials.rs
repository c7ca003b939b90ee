//! What an object's Secret and ConfigMap give to its entry: credentials and CA certificates. Pure: their content goes
//! in.
//!
//! Whoever may write `McpGateway` objects may not be allowed to read Secrets. So the values of a Secret are only used
//! if it has the label [`REGISTRATION_SECRET`], and are only sent to the origins that its annotation
//! [`ALLOWED_ORIGINS`] lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desired::{Credentials, SecretText, credential_origins, origin};
use super::wanted::{SecretVersion, SourceName, Unusable};
use crate::api::v1alpha1::registration::{CaSource, RegistrationAuth, RegistrationSpec};
use crate::api::{ALLOWED_ORIGINS, REGISTRATION_SECRET};
use crate::model::ServerUrl;

/// The content of a Secret or ConfigMap. Not for logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The values.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// A source that was looked for.
#[derive(Clone)]
pub enum FoundSource {
    /// The source exists.
    Found(Arc<Source>),
    /// There is none of this name.
    Missing,
    /// The API server denies it.
    Denied,
}

/// What the sources of an object give to its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// What `ContextForge` sends to the server.
    pub credentials: Credentials,
    /// The version of the Secret with them.
    pub version: Option<SecretVersion>,
    /// Certificates in PEM; empty for none.
    pub ca_certificate: String,
}

/// The Secrets and `ConfigMap`s that a spec refers to.
pub fn sources(spec: &RegistrationSpec) -> Vec<SourceName> {
    let secret = spec.auth.as_ref().and_then(RegistrationAuth::secret_name);
    let ca = spec.ca.as_ref().and_then(ca_source);
    secret.map(|name| SourceName::Secret(name.to_owned())).into_iter().chain(ca).collect()
}

fn ca_source(ca: &CaSource) -> Option<SourceName> {
    let secret = ca.secret_name.clone().map(SourceName::Secret);
    secret.or_else(|| ca.config_map_name.clone().map(SourceName::ConfigMap))
}

/// What the sources give. `find` returns what was found of each of [`sources`].
///
/// # Errors
/// Why they cannot be used.
pub fn resolve(
    spec: &RegistrationSpec,
    url: &ServerUrl,
    find: &dyn Fn(&SourceName) -> FoundSource,
) -> Result<Resolved, Unusable> {
    let mut resolved = Resolved::default();
    if let Some(auth) = &spec.auth
        && let Some(name) = auth.secret_name()
    {
        let values = Values::of(SourceName::Secret(name.to_owned()), find)?;
        values.check_origins(&credential_origins(spec, url))?;
        resolved.credentials = credentials(auth, &values)?;
        let Source { uid, resource_version, .. } = &*values.source;
        let version = SecretVersion { uid: uid.as_str().into(), resource_version: resource_version.as_str().into() };
        resolved.version = Some(version);
    }
    if let Some(ca) = &spec.ca
        && let Some(name) = ca_source(ca)
    {
        let values = Values::of(name, find)?;
        let text = values.text(&ca.key)?.expose().to_owned();
        // ContextForge accepts anything and then reaches nothing. It shows certificates to everybody.
        let has = |label: &str| text.contains(label);
        let holds_certificates = has("-----BEGIN CERTIFICATE-----") && has("-----END CERTIFICATE-----");
        if !holds_certificates || has("PRIVATE KEY-----") {
            return Err(Unusable::BadValue(values.name, ca.key.clone()));
        }
        resolved.ca_certificate = text;
    }
    Ok(resolved)
}

/// A source whose values may be used.
struct Values {
    name: SourceName,
    source: Arc<Source>,
}

impl Values {
    fn of(name: SourceName, find: &dyn Fn(&SourceName) -> FoundSource) -> Result<Self, Unusable> {
        let source = match find(&name) {
            FoundSource::Found(source) => source,
            FoundSource::Missing => return Err(Unusable::SourceMissing(name)),
            FoundSource::Denied => return Err(Unusable::SourceDenied(name)),
        };
        let labelled = source.labels.get(REGISTRATION_SECRET).is_some_and(|value| value == "true");
        match name {
            SourceName::Secret(_) if !labelled => Err(Unusable::NotLabelled(name)),
            _ => Ok(Self { name, source }),
        }
    }

    fn check_origins(&self, needed: &[String]) -> Result<(), Unusable> {
        let listed = self.source.annotations.get(ALLOWED_ORIGINS).map(String::as_str).unwrap_or_default();
        let allowed: Vec<String> = listed.split(',').filter_map(|text| origin(text.trim())).collect();
        match needed.iter().find(|needed| !allowed.contains(needed)) {
            Some(other) => Err(Unusable::OriginNotAllowed(self.name.clone(), other.clone())),
            None => Ok(()),
        }
    }

    /// The value of a key, without the line break that editors leave at its end.
    fn text(&self, key: &str) -> Result<SecretText, Unusable> {
        let bad = || Unusable::BadValue(self.name.clone(), key.to_owned());
        let value = self.source.data.get(key);
        let value = value.ok_or_else(|| Unusable::KeyMissing(self.name.clone(), key.to_owned()))?;
        let text = std::str::from_utf8(value).map_err(|_| bad())?.trim_end_matches(['\r', '\n']);
        if text.is_empty() { Err(bad()) } else { Ok(SecretText::new(text.to_owned())) }
    }

    /// The value of a key that is sent in a header, so it is one line of visible characters.
    fn line(&self, key: &str) -> Result<SecretText, Unusable> {
        let value = self.text(key)?;
        let fits = value.expose().bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if fits { Ok(value) } else { Err(Unusable::BadValue(self.name.clone(), key.to_owned())) }
    }
}

fn credentials(auth: &RegistrationAuth, values: &Values) -> Result<Credentials, Unusable> {
    let RegistrationAuth { bearer, basic, headers, query_parameter, oauth_client_credentials } = auth;
    if let Some(auth) = bearer {
        return Ok(Credentials::Bearer(values.line(&auth.key)?));
    }
    if let Some(auth) = basic {
        let (username, password) = (values.text(&auth.username_key)?, values.text(&auth.password_key)?);
        return Ok(Credentials::Basic { username, password });
    }
    if let Some(auth) = headers {
        let item =
            |item: &crate::api::v1alpha1::registration::HeaderItem| Ok((item.name.clone(), values.line(&item.key)?));
        return Ok(Credentials::Headers(auth.items.iter().map(item).collect::<Result<_, Unusable>>()?));
    }
    if let Some(auth) = query_parameter {
        return Ok(Credentials::QueryParameter { name: auth.name.clone(), value: values.text(&auth.key)? });
    }
    if let Some(auth) = oauth_client_credentials {
        return Ok(Credentials::OauthClientCredentials {
            token_url: auth.token_url.clone(),
            client_id: values.text(&auth.client_id_key)?,
            client_secret: values.text(&auth.client_secret_key)?,
            scopes: auth.scopes.clone(),
        });
    }
    Ok(Credentials::None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(auth: &serde_json::Value) -> RegistrationSpec {
        serde_json::from_value(json!({"auth": auth})).unwrap()
    }

    fn secret(data: &[(&str, &str)]) -> Source {
        Source {
            uid: "u".into(),
            resource_version: "7".into(),
            labels: [(REGISTRATION_SECRET.to_owned(), "true".to_owned())].into(),
            annotations: [(ALLOWED_ORIGINS.to_owned(), "https://h.example, http://h:8080".to_owned())].into(),
            data: data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect(),
        }
    }

    fn resolved(auth: &serde_json::Value, url: &str, source: Source) -> Result<Resolved, Unusable> {
        let found = FoundSource::Found(Arc::new(source));
        resolve(&spec(auth), &ServerUrl::parse(url).unwrap(), &|_| found.clone())
    }

    #[test]
    fn each_kind_is_read_from_its_keys() {
        let text = |text: &str| SecretText::new(text.to_owned());
        let source = secret(&[("token", "t\n"), ("username", "u"), ("password", "p"), ("client-id", "i"), ("k", "v")]);
        for (auth, expected) in [
            (json!({"bearer": {"secretName": "s"}}), Credentials::Bearer(text("t"))),
            (json!({"basic": {"secretName": "s"}}), Credentials::Basic { username: text("u"), password: text("p") }),
            (
                json!({"headers": {"secretName": "s", "items": [{"name": "X-A", "key": "k"}]}}),
                Credentials::Headers(vec![("X-A".into(), text("v"))]),
            ),
            (
                json!({"queryParameter": {"secretName": "s", "name": "n", "key": "k"}}),
                Credentials::QueryParameter { name: "n".into(), value: text("v") },
            ),
        ] {
            let resolved = resolved(&auth, "https://h.example/mcp", source.clone()).unwrap();
            assert_eq!(resolved.credentials, expected);
            assert_eq!(resolved.version.unwrap().resource_version.as_ref(), "7");
        }
    }

    #[test]
    fn only_labelled_secrets_are_used_and_only_for_their_origins() {
        let bearer = json!({"bearer": {"secretName": "s"}});
        let name = || SourceName::Secret("s".into());
        let good = || secret(&[("token", "t")]);
        for url in ["https://h.example/mcp", "https://H.example:443/x", "http://h:8080"] {
            assert!(resolved(&bearer, url, good()).is_ok(), "{url}");
        }
        for (url, origin) in [
            ("http://h.example/mcp", "http://h.example:80"),
            ("https://h.example.evil/", "https://h.example.evil:443"),
            ("http://h:8081", "http://h:8081"),
        ] {
            let expected = Err(Unusable::OriginNotAllowed(name(), origin.into()));
            assert_eq!(resolved(&bearer, url, good()), expected);
        }
        // A URL without an origin is none of those that are listed.
        let other = resolved(&bearer, "https://h:99999/mcp", good());
        assert!(matches!(other, Err(Unusable::OriginNotAllowed(..))), "{other:?}");
        let unlabelled = Source { labels: BTreeMap::new(), ..good() };
        assert_eq!(resolved(&bearer, "https://h.example", unlabelled), Err(Unusable::NotLabelled(name())));
        // The client's secret also goes to the token URL.
        let oauth = json!({"oauthClientCredentials": {"secretName": "s", "tokenUrl": "https://issuer/token"}});
        let expected = Err(Unusable::OriginNotAllowed(name(), "https://issuer:443".into()));
        assert_eq!(resolved(&oauth, "https://h.example", good()), expected);
    }

    #[test]
    fn what_is_missing_or_cannot_be_sent_is_named() {
        let bearer = json!({"bearer": {"secretName": "s"}});
        let name = || SourceName::Secret("s".into());
        let of = |source| resolved(&bearer, "https://h.example", source);
        assert_eq!(of(secret(&[("other", "t")])), Err(Unusable::KeyMissing(name(), "token".into())));
        for bad in ["", "\n", "a\nb", "ä", "a\tb"] {
            assert_eq!(of(secret(&[("token", bad)])), Err(Unusable::BadValue(name(), "token".into())), "{bad:?}");
        }
        let url = ServerUrl::parse("https://h.example").unwrap();
        let find = |found: FoundSource| resolve(&spec(&bearer), &url, &|_| found.clone());
        assert_eq!(find(FoundSource::Missing), Err(Unusable::SourceMissing(name())));
        assert_eq!(find(FoundSource::Denied), Err(Unusable::SourceDenied(name())));
    }

    #[test]
    fn certificates_come_from_a_config_map_without_a_label() {
        let ca: RegistrationSpec = serde_json::from_value(json!({"ca": {"configMapName": "c"}})).unwrap();
        assert_eq!(sources(&ca), [SourceName::ConfigMap("c".into())]);
        let url = ServerUrl::parse("https://h.example").unwrap();
        let of = |text: &str| {
            let source = Source { data: [("ca.crt".to_owned(), text.into())].into(), ..Source::default() };
            resolve(&ca, &url, &|_| FoundSource::Found(Arc::new(source.clone())))
        };
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        assert_eq!(of(pem).unwrap().ca_certificate, pem.trim_end());
        assert!(matches!(of("none"), Err(Unusable::BadValue(..))));
        // ContextForge shows certificates to everybody.
        let key = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";
        assert!(matches!(of(&format!("{pem}{key}")), Err(Unusable::BadValue(..))));
    }
}
