//! What a token of ContextForge can see, by its claims. Pure.
//!
//! Release 1.0.7 (`auth_context.normalize_token_teams`, `BaseService._apply_access_control`) decides by the claims
//! `teams` and `is_admin`. Without teams a token sees public gateways, with teams also those of the teams. An
//! administrator's token with `teams: null` sees everything but the private gateways of other users, which no token
//! sees. For a session token (`token_use`) the rights of its user in the database decide instead. The claims are read
//! and not verified, because ContextForge does that.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD, Engine};
use serde_json::Value;

use crate::model::UnixTime;

/// Which gateways a token can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything but the private gateways of other users.
    All,
    /// Public ones.
    Public,
    /// Public ones, and those of this many teams.
    Teams(usize),
    /// Those that its user may see: all of them, if the user is an administrator.
    Session,
    /// The token has no claims that can be read.
    Unknown,
}

/// The user of a token, whose entries are its own. Release 1.1.0 has an id in `sub`, and the address beside it.
pub fn user(token: &str) -> Option<String> {
    let claims = claims(token)?;
    let users = [&claims["sub"], &claims["user"]["email"], &claims["email"]];
    users.into_iter().filter_map(Value::as_str).find(|user| user.contains('@')).map(str::to_owned)
}

/// The first team of a token, which is the user's own where the token was made for all of the user's teams.
pub fn team(token: &str) -> Option<String> {
    let team = &claims(token)?["teams"][0];
    team.as_str().or_else(|| team["id"].as_str()).filter(|team| !team.is_empty()).map(str::to_owned)
}

/// How long a token is valid and for what, according to its claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// `None` if it does not say.
    pub expires: Option<UnixTime>,
    /// The permissions that it is restricted to; empty if those of its user count alone.
    pub permissions: Vec<String>,
}

/// The validity of a token.
pub fn validity(token: &str) -> Validity {
    let claims = claims(token).unwrap_or_default();
    let permissions = claims["scopes"]["permissions"].as_array().into_iter().flatten();
    Validity {
        expires: claims["exp"].as_f64().and_then(UnixTime::from_seconds),
        permissions: permissions.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

impl Scope {
    /// The scope of a token, by its claims.
    pub fn of(token: &str) -> Self {
        let Some(claims) = claims(token) else { return Self::Unknown };
        let narrowed = claims["teams"].as_array().map_or(0, Vec::len);
        if claims["token_use"] == "session" {
            return if narrowed > 0 { Self::Teams(narrowed) } else { Self::Session };
        }
        let admin = claims["is_admin"] == true || claims["user"]["is_admin"] == true;
        match claims.get("teams") {
            Some(Value::Null) if admin => Self::All,
            Some(Value::Array(teams)) if !teams.is_empty() => Self::Teams(teams.len()),
            _ => Self::Public,
        }
    }

    /// What to do if the list may be incomplete; `None` if no token sees more.
    pub fn warning(self) -> Option<String> {
        const WHOLE: &str = "for all of them use an administrator's token with \"teams\": null";
        match self {
            Self::All => None,
            Self::Public => Some(format!("this token sees only public gateways, those of teams are missing: {WHOLE}")),
            Self::Teams(count) => {
                let teams = if count == 1 { "one team".to_owned() } else { format!("{count} teams") };
                Some(format!("this token sees public gateways and those of {teams}, others are missing: {WHOLE}"))
            }
            Self::Session => Some(format!(
                "this is a session token, which sees what its user may see: gateways are missing unless the user \
                 is an administrator; {WHOLE}"
            )),
            Self::Unknown => {
                Some(format!("this token does not show what it may see, gateways may be missing: {WHOLE}"))
            }
        }
    }
}

/// The claims of a JSON web token.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    (parts.next().is_none() && claims.is_object()).then_some(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("{}.{}.sig", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_claims_decide_the_scope() {
        for (claims, scope) in [
            (r#"{"sub":"a","teams":null,"is_admin":true}"#, Scope::All),
            (r#"{"sub":"a","teams":null,"user":{"is_admin":true}}"#, Scope::All),
            (r#"{"sub":"a","teams":null}"#, Scope::Public),
            (r#"{"sub":"a","is_admin":true}"#, Scope::Public),
            (r#"{"sub":"a","teams":[],"is_admin":true}"#, Scope::Public),
            (r#"{"sub":"a","teams":["t"],"is_admin":true}"#, Scope::Teams(1)),
            (r#"{"sub":"a","teams":[{"id":"t"},"u"]}"#, Scope::Teams(2)),
            (r#"{"sub":"a","teams":null,"is_admin":true,"token_use":"session"}"#, Scope::Session),
            (r#"{"sub":"é?>","teams":["t"],"token_use":"session"}"#, Scope::Teams(1)),
            ("[]", Scope::Unknown),
            ("", Scope::Unknown),
        ] {
            assert_eq!(Scope::of(&token(claims)), scope, "{claims}");
            assert_eq!(scope.warning().is_none(), scope == Scope::All);
        }
        for token in ["", "opaque", "a.b", "a.!.c", "a.b.c.d"] {
            assert_eq!(Scope::of(token), Scope::Unknown, "{token}");
        }
    }
    #[test]
    fn a_token_names_its_user_its_end_and_its_permissions() {
        let api = r#"{"sub":"0483d78b","user":{"email":"op@example.com"},"exp":1803578255,
            "scopes":{"permissions":["gateways.read","gateways.create"]}}"#;
        assert_eq!(user(&token(api)).as_deref(), Some("op@example.com"));
        let permissions = ["gateways.read", "gateways.create"].map(str::to_owned).to_vec();
        let expires = UnixTime::from_seconds(1_803_578_255.0);
        assert_eq!(validity(&token(api)), Validity { expires, permissions });
        assert_eq!(user(&token(r#"{"sub":"op@example.com"}"#)).as_deref(), Some("op@example.com"));
        for nameless in [token(r#"{"sub":"0483d78b","scopes":{"permissions":[]}}"#), "opaque".to_owned()] {
            assert_eq!((user(&nameless), validity(&nameless)), (None, Validity::default()));
        }
    }
}
