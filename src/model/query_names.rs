//! Names of query parameters that say that their value is a credential. Pure.
//!
//! One list for the API server and for this program: the CEL rule of the CRD is built from the same patterns, and a
//! test compares the verdicts of both. A name is refused in doubt, because a credential that is published cannot be
//! taken back; a person can vouch for a name (`spec.allowedQueryNames`). The syntax is valid for RE2 (CEL) and for the
//! `regex` crate. No pattern matches `=` or `&`, which end a name.

use std::sync::LazyLock;

use regex::Regex;

/// Names of credentials. Other words may precede most of them: `x-api-key`, `githubToken`. Only digits and punctuation
/// may follow: `token[]`, `key_2`. So `monkey`, `tokenizer`, `token_type` and `errorCode` are no such names.
pub const CREDENTIAL: &str = concat!(
    // As the whole name.
    r"(?:(?i:code|cookie)",
    // As the last word: after punctuation, or with a capital letter.
    r"|(?:[^=&]*[^A-Za-z0-9=&])?(?i:key|pass|pat|pw|o?auth|sas|sig|psk|otp|creds?)",
    r"|[^=&]*[a-z0-9](?:Key|Pass|Pat|Pw|O?Auth|Sas|Sig|Psk|Otp|Creds?)",
    // At the end of any word.
    r"|[^=&]*(?i:token|secrets?|passwords?|passwd|pwd|passphrase|passcode|credentials?|signature|authorization|bearer",
    r"|jwt|hmac|sess(?:ion)?[^A-Za-z0-9=&]?id",
    r"|(?:access|auth|authorization|device|functions?|invite|login|security|verification)[^A-Za-z0-9=&]?code",
    r"|(?:access|account|admin|api|app|application|auth|client|consumer|encryption|functions?|host|licen[cs]e|master",
    r"|private|secret|security|server|service|session|shared|signing|storage|subscription|user)[^A-Za-z0-9=&]?keys?))",
    r"[^A-Za-z=&]*",
);

/// Names that [`CREDENTIAL`] matches and that are about data or pages: `sort_key`, `max_token`, `primaryKey`.
pub const HARMLESS: &str = concat!(
    r"(?:[^=&]*[^A-Za-z0-9=&])?(?i:",
    r"(?:cache|column|cursor|end|first|foreign|group|hash|idempotency|index|last|max|min|natural|next|object|order|page",
    r"|partition|prev|previous|primary|public|range|routing|row|shard|sort|start|unique)[^A-Za-z0-9=&]?key",
    r"|(?:continuation|continue|cursor|end|first|last|max|min|next|page|prev|previous|start|stop)[^A-Za-z0-9=&]?token",
    r")[^A-Za-z=&]*",
);

/// A `;` in the query, which some servers take for `&`.
pub const SEMICOLON: &str = "[?].*;";

/// A `%` in the name of a query parameter: neither CEL nor this program decodes names.
pub const ENCODED: &str = "[?](?:.*[&?])?[^=&?]*%";

static IS_CREDENTIAL: LazyLock<Regex> = LazyLock::new(|| whole(CREDENTIAL));
static IS_HARMLESS: LazyLock<Regex> = LazyLock::new(|| whole(HARMLESS));
static IS_REFUSED: LazyLock<[Regex; 2]> = LazyLock::new(|| [SEMICOLON, ENCODED].map(super::url::compiled));

fn whole(pattern: &str) -> Regex {
    super::url::compiled(&format!("^(?:{pattern})$"))
}

/// Whether a query parameter has the name of a credential that is not `vouched` for. A second `?` begins a parameter
/// too, because programs append `?token=…` to a URL that has a query. So does an `&` in the path.
pub(super) fn has_credential(url: &str, vouched: &[String]) -> bool {
    let names = url.split(['?', '&']).skip(1).map(|parameter| parameter.split('=').next().unwrap_or_default());
    names
        .filter(|name| IS_CREDENTIAL.is_match(name) && !IS_HARMLESS.is_match(name))
        .any(|name| !vouched.iter().any(|vouched| vouched == name))
}

/// Whether names of the query cannot be judged: see [`SEMICOLON`] and [`ENCODED`].
pub(super) fn cannot_be_judged(url: &str) -> bool {
    IS_REFUSED.iter().any(|pattern| pattern.is_match(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(name: &str) -> bool {
        has_credential(&format!("https://h/?a=1&{name}=x"), &[])
    }

    #[test]
    fn names_of_credentials_are_refused() {
        for name in [
            "code",
            "CODE",
            "key",
            "apikey",
            "api_key",
            "API-KEY",
            "x-api-key",
            "tavilyApiKey",
            "apiKeys",
            "token",
            "token[]",
            "token[0]",
            "token1",
            "user[token]",
            "x_token",
            "accessToken",
            "apitoken",
            "GITHUBTOKEN",
            "id.token",
            "clientsecret",
            "client_secret",
            "clientSecret",
            "my.secret",
            "secrets",
            "pass",
            "db_pass",
            "userPass",
            "passwd",
            "dbpwd",
            "password[0]",
            "passphrase",
            "pat",
            "github_pat",
            "bearer",
            "authbearer",
            "auth",
            "oauth",
            "x-auth",
            "Authorization",
            "jwt",
            "sig",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "X-Goog-Signature",
            "subscription-key",
            "Ocp-Apim-Subscription-Key",
            "x-functions-key",
            "functionscode",
            "auth_code",
            "authkey",
            "licenseKey",
            "creds",
            "hmac",
            "sessionId",
            "PHPSESSID",
            "otp",
            "sas",
            "psk",
            "pw",
            "cookie",
            "my/key",
            "key_2",
            "~token~",
        ] {
            assert!(is_refused(name), "{name}");
        }
    }

    #[test]
    fn harmless_names_are_accepted() {
        for name in [
            "sort_key",
            "sortKey",
            "sort-key",
            "SORTKEY",
            "max_token",
            "maxToken",
            "max_tokens",
            "primaryKey",
            "foreign_key",
            "partition_key",
            "page_token",
            "pageToken",
            "next.token",
            "my_sort_key",
            "cache_key[]",
            "monkey",
            "turkey",
            "keyspace",
            "keyword",
            "tokenizer",
            "token_type",
            "tokens",
            "design",
            "author",
            "signal",
            "passage",
            "compass",
            "path",
            "pattern",
            "compat",
            "errorCode",
            "country_code",
            "codec",
            "barcode",
            "secretary",
            "jwtless",
            "x",
            "",
        ] {
            assert!(!is_refused(name), "{name}");
        }
    }

    #[test]
    fn a_harmless_word_makes_no_other_name_harmless() {
        for name in
            ["backend_key", "friendKey", "sort_key_token", "sort_key/secret", "max_token.auth", "unsortkey_api_key"]
        {
            assert!(is_refused(name), "{name}");
        }
    }

    #[test]
    fn every_parameter_is_judged_whatever_is_before_it() {
        for url in [
            "https://h?sort_key&token=1",
            "https://h?a?token=1",
            "https://h?a=b?token=1",
            "https://h?a=1&&token",
            "https://h/x&token=1",
            "https://h?code&code=1",
        ] {
            assert!(has_credential(url, &["code ".to_owned(), "sort_key".to_owned()]), "{url}");
        }
        let vouched = ["code".to_owned(), "a_token".to_owned()];
        assert!(!has_credential("https://h?code=de&a_token&code", &vouched));
        for url in ["https://h?Code=de", "https://h?code[]=de", "https://h?code=1&b_token=2", "https://h?xcode=1&pass"]
        {
            assert!(has_credential(url, &vouched), "a vouched name is meant exactly: {url}");
        }
    }

    #[test]
    fn names_that_cannot_be_judged_are_found() {
        for url in ["https://h?a=1;token=2", "https://h?to%6ben=1", "https://h?a=1&%74oken", "https://h?a=b?x%20=1"] {
            assert!(cannot_be_judged(url), "{url}");
        }
        for url in
            ["https://h/a;b?c=1", "https://h/R&D%20x?c=1", "https://h?a=%20&b=x%3By", "https://h/%20", "https://h"]
        {
            assert!(!cannot_be_judged(url), "{url}");
        }
    }
}
