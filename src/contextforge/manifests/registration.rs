//! The `registration` block that would make the same entry. Pure.
//!
//! What the CRD would refuse is found here, because one such object makes `kubectl apply` fail for all of them.
//! Credentials become references to a Secret that is named and not made.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use regex::Regex;

use super::super::page::Row;
use super::super::stored_auth::StoredAuth;
use crate::api::v1alpha1::registration::{
    BasicAuth, BearerAuth, CONNECTION_HEADERS, CaSource, HEADER, HeaderItem, HeadersAuth, MARKUP, NAME, OauthAuth,
    PARAMETER, PASSED_ON, QueryParameterAuth, RegistrationAuth, RegistrationSpec, SCOPE, TAG, TOKEN_URL, Visibility,
};
use crate::model::ServerUrl;
use crate::registration::desired::credential_origins;
use crate::registration::ownership::Creator;

/// A block, and what it needs.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) spec: RegistrationSpec,
    /// The Secret that it refers to.
    pub(super) secret: Option<SecretNeeded>,
    /// The certificates for the ConfigMap that it refers to.
    pub(super) ca_certificate: String,
}

/// A Secret to be made.
#[derive(Debug)]
pub(super) struct SecretNeeded {
    pub(super) name: String,
    pub(super) keys: Vec<String>,
    /// For its annotation.
    pub(super) origins: Vec<String>,
}

/// The block for a gateway, in an object of this name; or why there is none.
pub(super) fn block(row: &Row, url: &ServerUrl, object: &str) -> Result<Block, String> {
    let entry = row.entry.as_deref().ok_or("ContextForge does not say enough about it")?;
    if let Some(creator) = entry.created_user_agent.as_deref().and_then(Creator::parse) {
        return Err(format!("it was registered for McpGateway {}, which speaks for it", creator.object));
    }
    let (auth, keys) = auth(&row.auth, &format!("{object}-credentials"))?.unzip();
    let ca = (!entry.ca_certificate.trim().is_empty()).then(|| CaSource {
        secret_name: None,
        config_map_name: Some(format!("{object}-ca")),
        key: "ca.crt".to_owned(),
    });
    let spec = RegistrationSpec {
        name: Some(entry.name.clone()),
        description: Some(entry.description.clone()).filter(|text| !text.is_empty()),
        transport: entry.transport.parse().map_err(|_| "its transport is neither STREAMABLEHTTP nor SSE")?,
        tags: entry.tags.clone(),
        visibility: entry.visibility.parse().map_err(|_| "its visibility is not public, team or private")?,
        team_id: entry.team_id.clone().filter(|_| entry.visibility == "team"),
        passthrough_headers: entry.passthrough_headers.clone().unwrap_or_default(),
        auth,
        ca,
        ..RegistrationSpec::default()
    };
    check(&spec)?;
    let name = spec.auth.as_ref().and_then(RegistrationAuth::secret_name);
    let secret = name.zip(keys).map(|(name, keys)| SecretNeeded {
        name: name.to_owned(),
        keys,
        origins: credential_origins(&spec, url),
    });
    Ok(Block { secret, ca_certificate: entry.ca_certificate.clone(), spec })
}

/// The reference to the Secret, and the keys that it needs.
fn auth(stored: &StoredAuth, secret: &str) -> Result<Option<(RegistrationAuth, Vec<String>)>, String> {
    let secret_name = || secret.to_owned();
    let none = RegistrationAuth::default;
    let keys = |keys: [&str; 2]| keys.map(str::to_owned);
    Ok(Some(match stored {
        StoredAuth::None => return Ok(None),
        StoredAuth::Bearer => {
            let key = "token".to_owned();
            let bearer = Some(BearerAuth { secret_name: secret_name(), key: key.clone() });
            (RegistrationAuth { bearer, ..none() }, vec![key])
        }
        StoredAuth::Basic => {
            let [username_key, password_key] = keys(["username", "password"]);
            let needed = vec![username_key.clone(), password_key.clone()];
            let basic = Some(BasicAuth { secret_name: secret_name(), username_key, password_key });
            (RegistrationAuth { basic, ..none() }, needed)
        }
        StoredAuth::Headers(names) => {
            let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
            if names.len() > 16 || !is_set(&lower) || !names.iter().all(|name| fits(name, HEADER, 1..=64)) {
                return Err("the names of the headers with its credentials do not fit".to_owned());
            }
            // The name of a header can be a key of a Secret.
            let item = |name: &String| HeaderItem { name: name.clone(), key: name.clone() };
            let items = names.iter().map(item).collect();
            let headers = Some(HeadersAuth { secret_name: secret_name(), items });
            (RegistrationAuth { headers, ..none() }, names.clone())
        }
        StoredAuth::QueryParameter(name) => {
            if !fits(name, PARAMETER, 1..=64) {
                return Err("the name of the query parameter with its credential does not fit".to_owned());
            }
            let parameter = QueryParameterAuth { secret_name: secret_name(), name: name.clone(), key: name.clone() };
            (RegistrationAuth { query_parameter: Some(parameter), ..none() }, vec![name.clone()])
        }
        StoredAuth::OauthClientCredentials { token_url, scopes } => {
            let scopes_fit = scopes.len() <= 32 && scopes.iter().all(|scope| fits(scope, SCOPE, 1..=253));
            if !scopes_fit || !fits(token_url, TOKEN_URL, 1..=767) {
                return Err("its OAuth configuration does not fit spec.registration.auth".to_owned());
            }
            let [client_id_key, client_secret_key] = keys(["client-id", "client-secret"]);
            let needed = vec![client_id_key.clone(), client_secret_key.clone()];
            let oauth_client_credentials = Some(OauthAuth {
                secret_name: secret_name(),
                token_url: token_url.clone(),
                client_id_key,
                client_secret_key,
                scopes: scopes.clone(),
            });
            (RegistrationAuth { oauth_client_credentials, ..none() }, needed)
        }
        StoredAuth::Other(what) => return Err(format!("spec.registration has no {what}")),
    }))
}

/// Refuses what the CRD would refuse; the shapes of credentials are checked with them.
fn check(spec: &RegistrationSpec) -> Result<(), &'static str> {
    let RegistrationSpec { name, description, tags, visibility, team_id, passthrough_headers, .. } = spec;
    let is_passed_on = |name: &String| {
        fits(name, PASSED_ON, 1..=64) && !CONNECTION_HEADERS.contains(&name.to_ascii_lowercase().as_str())
    };
    let description = description.as_deref().unwrap_or_default();
    // YAML readers change them.
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let rules = [
        (name.as_deref().is_some_and(|name| fits(name, NAME, 1..=255)), "its name does not fit spec.registration.name"),
        (
            description.chars().count() <= 8192 && !description.chars().any(is_odd) && !matches(description, MARKUP),
            "its description is not plain text, or too long",
        ),
        (
            tags.len() <= 32 && is_set(tags) && tags.iter().all(|tag| fits(tag, TAG, 2..=100)),
            "its tags do not fit spec.registration.tags",
        ),
        (
            (*visibility == Visibility::Team) == team_id.is_some() && team_id.iter().all(|id| id.chars().count() <= 64),
            "it is visible to a team and names none",
        ),
        (
            passthrough_headers.len() <= 16
                && is_set(passthrough_headers)
                && passthrough_headers.iter().all(is_passed_on),
            "the headers that it passes on do not fit spec.registration.passthroughHeaders",
        ),
    ];
    rules.into_iter().try_for_each(|(fits, why)| if fits { Ok(()) } else { Err(why) })
}

fn is_set(texts: &[String]) -> bool {
    texts.iter().collect::<HashSet<_>>().len() == texts.len()
}

/// Compiled each time: the command ends after one list.
fn matches(text: &str, pattern: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

fn fits(text: &str, pattern: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && matches(text, pattern)
}
