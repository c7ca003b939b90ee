//! How `ContextForge` identifies itself to a server, as far as it says so. Pure: JSON in. No secret is read.

use serde_json::Value;

/// What a gateway stores, without the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoredAuth {
    /// No credentials.
    #[default]
    None,
    /// A bearer token.
    Bearer,
    /// A user name and a password.
    Basic,
    /// Headers of these names.
    Headers(Vec<String>),
    /// A query parameter of this name.
    QueryParameter(String),
    /// Tokens by the client-credentials grant.
    OauthClientCredentials {
        /// Where tokens are issued.
        token_url: String,
        /// Scopes to ask for.
        scopes: Vec<String>,
    },
    /// What `spec.registration` cannot say.
    Other(&'static str),
}

impl StoredAuth {
    /// Reads it from one gateway of the list.
    pub(super) fn read(gateway: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if !text(&gateway["clientCert"]).is_empty() {
            return Self::Other("a client certificate");
        }
        match gateway["authType"].as_str() {
            None | Some("" | "none") => Self::None,
            Some("bearer") => Self::Bearer,
            Some("basic") => Self::Basic,
            Some("authheaders") => {
                let several = gateway["authHeaders"].as_array().into_iter().flatten();
                let names: Vec<String> = several.map(|header| text(&header["key"])).collect();
                Self::Headers(if names.is_empty() { vec![text(&gateway["authHeaderKey"])] } else { names })
            }
            Some("query_param") => Self::QueryParameter(text(&gateway["authQueryParamKey"])),
            Some("oauth") => oauth(&gateway["oauthConfig"]),
            Some(_) => Self::Other("an authentication of another kind"),
        }
    }
}

fn oauth(config: &Value) -> StoredAuth {
    const KNOWN: [&str; 5] = ["grant_type", "token_url", "client_id", "client_secret", "scopes"];
    let Some(fields) = config.as_object() else { return StoredAuth::Other("an OAuth configuration that is not shown") };
    let is_empty = |value: &Value| value.is_null() || *value == "" || value.as_array().is_some_and(Vec::is_empty);
    match config["grant_type"].as_str() {
        Some("client_credentials") => {}
        Some("authorization_code") => return StoredAuth::Other("the OAuth grant authorization_code"),
        _ => return StoredAuth::Other("another OAuth grant than client_credentials"),
    }
    if fields.iter().any(|(name, value)| !KNOWN.contains(&name.as_str()) && !is_empty(value)) {
        return StoredAuth::Other("an OAuth configuration with more than URL, client and scopes");
    }
    let scopes = config["scopes"].as_array().into_iter().flatten();
    StoredAuth::OauthClientCredentials {
        token_url: config["token_url"].as_str().unwrap_or_default().to_owned(),
        scopes: scopes.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_is_read_without_its_values() {
        let oauth = |grant: &str, more: Value| {
            let mut config = json!({"grant_type": grant, "token_url": "https://i/t", "client_id": "planted",
                "client_secret": "*****", "scopes": ["a"], "audience": null});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"authType": "oauth", "oauthConfig": config})
        };
        let header = |name: &str| json!({"key": name, "value": "*****"});
        let client =
            StoredAuth::OauthClientCredentials { token_url: "https://i/t".into(), scopes: vec!["a".to_owned()] };
        for (gateway, expected) in [
            (json!({}), StoredAuth::None),
            (json!({"authType": null, "authValue": null}), StoredAuth::None),
            (json!({"authType": "bearer", "authToken": "*****"}), StoredAuth::Bearer),
            (json!({"authType": "basic", "authUsername": "planted"}), StoredAuth::Basic),
            (
                json!({"authType": "authheaders", "authHeaders": [header("X-A"), header("X-B")], "authHeaderKey": "X-A"}),
                StoredAuth::Headers(vec!["X-A".to_owned(), "X-B".to_owned()]),
            ),
            (json!({"authType": "authheaders", "authHeaderKey": "X-A"}), StoredAuth::Headers(vec!["X-A".to_owned()])),
            (json!({"authType": "query_param", "authQueryParamKey": "k"}), StoredAuth::QueryParameter("k".to_owned())),
            (oauth("client_credentials", json!({})), client),
        ] {
            let read = StoredAuth::read(&gateway);
            assert_eq!(read, expected);
            assert!(!format!("{read:?}").contains("planted"));
        }
        for gateway in [
            oauth("authorization_code", json!({})),
            oauth("client_credentials", json!({"audience": "x"})),
            json!({"authType": "oauth"}),
            json!({"authType": "one_time_auth"}),
            json!({"authType": "bearer", "clientCert": "PEM"}),
        ] {
            assert!(matches!(StoredAuth::read(&gateway), StoredAuth::Other(_)), "{gateway}");
        }
    }
}
