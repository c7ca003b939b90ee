//! Manifests for the gateways of a ContextForge. Pure: rows in, YAML and warnings out.
//!
//! Sorted by name, and the same for the same rows, so that the diff of a second import shows only what has changed. The
//! URL is the stored one, byte for byte, because workers look it up like that. A gateway that the CRD would refuse is
//! left out, with a warning that says what to do and repeats no query and no user info.

mod registration;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use self::registration::{Block, SecretNeeded, block};
use super::page::Row;
use crate::api::v1alpha1::registration::CaSource;
use crate::api::{ALLOWED_ORIGINS, REGISTRATION_SECRET};
use crate::model::label::{hash_digits, label, label_with_hash};
use crate::model::{GatewayId, ServerUrl, URL_MAX_CHARS, UrlError};

/// How much of a string of ContextForge is shown.
const SHOWN_CHARS: usize = 80;

/// The result for all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifests {
    /// YAML documents; empty if there is no gateway.
    pub yaml: String,
    /// The number of documents.
    pub count: usize,
    /// One line for each gateway that was left out.
    pub left_out: Vec<String>,
}

/// What to write into the manifests.
#[derive(Clone, Copy, Debug, Default)]
pub struct ManifestOptions<'a> {
    /// The namespace of the objects; without it they get that of `kubectl apply`.
    pub namespace: Option<&'a str>,
    /// Whether the operator shall register the servers: the blocks that would make the same entries.
    pub registration: bool,
}

/// Makes the manifests.
pub fn manifests(rows: &[Row], options: ManifestOptions<'_>) -> Manifests {
    let mut made = Manifests::default();
    let mut rows: Vec<&Row> = rows.iter().collect();
    // Of gateways with the same name the oldest keeps it, so that a new gateway does not rename another.
    rows.sort_by_key(|row| (&row.created, &row.id));
    let mut named: BTreeMap<String, (&Row, ServerUrl)> = BTreeMap::new();
    for row in rows {
        match checked(row) {
            Ok(url) => {
                let name = free_name(row, |name| named.contains_key(name));
                named.insert(name, (row, url));
            }
            Err(why) => made.left_out.push(format!("{} is left out: {why}", shown(row))),
        }
    }
    made.left_out.sort();
    made.count = named.len();
    for (name, (row, url)) in &named {
        document(&mut made.yaml, name, options, row, url);
    }
    made
}

/// Appends a document. Every string is quoted as in JSON: without quotes YAML may read it as a number or a boolean.
fn document(yaml: &mut String, name: &str, options: ManifestOptions<'_>, row: &Row, url: &ServerUrl) {
    head(yaml, "mcpgateway.io/v1alpha1", "McpGateway", name, options.namespace);
    let _ = writeln!(yaml, "spec:\n  url: {}\n  gatewayId: {}", json!(url), json!(row.id));
    if !row.enabled {
        let _ = writeln!(yaml, "  enabled: false");
    }
    if !options.registration {
        return;
    }
    let Block { spec, secret, ca_certificate } = match block(row, url, name) {
        Ok(block) => block,
        Err(why) => {
            let _ = writeln!(yaml, "  # It is not registered by the operator: {why}.");
            return;
        }
    };
    if let Some(SecretNeeded { name, keys, origins }) = secret {
        let word = if keys.len() == 1 { "key" } else { "keys" };
        let _ = writeln!(yaml, "  # Make the Secret {name} with the {word} {}, the label", keys.join(", "));
        let _ = writeln!(yaml, "  # {REGISTRATION_SECRET}=true and the annotation");
        let _ = writeln!(yaml, "  # {ALLOWED_ORIGINS}={}", origins.join(","));
    }
    let _ = writeln!(yaml, "  registration:");
    block_value(yaml, 4, &json!(spec));
    if let Some(CaSource { config_map_name: Some(name), key, .. }) = &spec.ca {
        head(yaml, "v1", "ConfigMap", name, options.namespace);
        let _ = writeln!(yaml, "data:");
        block_value(yaml, 2, &json!({key: ca_certificate}));
    }
}

/// Begins a document.
fn head(yaml: &mut String, api_version: &str, kind: &str, name: &str, namespace: Option<&str>) {
    let _ = writeln!(yaml, "---\napiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {}", json!(name));
    if let Some(namespace) = namespace {
        let _ = writeln!(yaml, "  namespace: {}", json!(namespace));
    }
}

/// The fields of an object, a line for each value, and one for each list of strings.
fn block_value(yaml: &mut String, indent: usize, fields: &Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        if value.is_object() {
            let _ = writeln!(yaml, "{:indent$}{name}:", "");
            block_value(yaml, indent + 2, value);
        } else {
            let _ = writeln!(yaml, "{:indent$}{name}: {}", "", printable(value));
        }
    }
}

/// JSON that is also YAML, which does not admit all characters.
fn printable(value: &Value) -> String {
    value.to_string().chars().fold(String::new(), |mut text, c| {
        let odd = matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
        let _ = if odd { write!(text, "\\u{:04x}", u32::from(c)) } else { write!(text, "{c}") };
        text
    })
}

/// The URL, if an object for this row would be accepted; else what to do.
fn checked(row: &Row) -> Result<ServerUrl, String> {
    if GatewayId::parse(&row.id).is_none() {
        return Err("its id is not 1 to 64 letters, digits, '.', '_' and '-', so no manifest can name it".to_owned());
    }
    if row.lifecycle == "deleting" {
        return Err("it is being deleted".to_owned());
    }
    ServerUrl::parse(&row.url).map_err(|error| match error {
        UrlError::Credential => {
            "its URL carries a credential; take it out of the URL in ContextForge and give it to the gateway as its \
             authentication (for a query parameter: auth_type query_param), then import again, or write the object by hand with \
             spec.allowedQueryNames if it is none; until then it is polled at the full rate"
                .to_owned()
        }
        UrlError::Invalid => {
            let long = row.url.chars().count() > URL_MAX_CHARS;
            let what = if long { "its URL is longer than 767 characters" } else { "its URL does not fit" };
            format!("{what}; in ContextForge {error}, then import again; until then it is polled at the full rate")
        }
    })
}

/// An unused name: the gateway's own, or with a part of its id's hash, which is the same at each import.
fn free_name(row: &Row, taken: impl Fn(&str) -> bool) -> String {
    let plain = label(&row.name);
    if !plain.is_empty() && !taken(&plain) {
        return plain;
    }
    // Ids are unique, so the longest is free unless a gateway is named after another one's hash.
    let with = |digits: usize| label_with_hash(&plain, &row.id, digits);
    (8..=56).step_by(8).map(with).find(|name| !taken(name)).unwrap_or_else(|| hash_digits(&row.id, 63))
}

/// A gateway for warnings: name, id, and its URL without what may be secret.
fn shown(row: &Row) -> String {
    format!("gateway {} (id {}, {})", clean(&row.name), clean(&row.id), redacted(&row.url))
}

fn clean(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() { c } else { '?' };
    let mut shown: String = text.chars().take(SHOWN_CHARS).map(clean).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Scheme, host and path.
fn redacted(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let cut = if plain.len() < url.len() { "?…" } else { "" };
    let parts = plain.split_once("://").filter(|(scheme, _)| scheme.len() <= 10).and_then(|(scheme, rest)| {
        // User and password end at the last @ before the path; the path may have one too.
        let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("…@", host));
        // A password with an unescaped / looks like host, port and path.
        let is_password = |port: &str| path.contains('@') && !port.bytes().all(|digit| digit.is_ascii_digit());
        let port = host.rsplit_once(':').map_or("", |(_, port)| port);
        (host.ends_with(']') || !is_password(port)).then(|| (scheme, user, format!("{host}{path}")))
    });
    let Some((scheme, user, rest)) = parts else { return "its URL is not repeated here".to_owned() };
    format!("{}://{user}{}{cut}", clean(scheme), clean(&rest))
}

#[cfg(test)]
mod tests;
