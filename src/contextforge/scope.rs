//! What a token of ContextForge can see, told from its claims. Pure.
//!
//! Release 1.0.7 (`auth_context.normalize_token_teams`, `BaseService._apply_access_control`) lists by the claims `teams` and `is_admin`: without
//! teams only what is public, with some also what is theirs; with `teams: null` of an administrator everything but what is private
//! to somebody else, which it shows to no token. A session token (`token_use`) goes by the user's rights in its database instead. The
//! claims are read, not verified: ContextForge has done that.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD, Engine};
use serde_json::Value;

/// What a token can see of the gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything but the private gateways of other users.
    All,
    /// What is public.
    Public,
    /// What is public, and what belongs to so many teams.
    Teams(usize),
    /// What its user may see: everything, if that is an administrator.
    Session,
    /// It is no token that could be read.
    Unknown,
}

impl Scope {
    /// By its claims.
    #[must_use]
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

    /// What to know and to do if the list may be a part only; `None` if the token shows all that any token can.
    #[must_use]
    pub fn warning(self) -> Option<String> {
        const WHOLE: &str = "for all of them use an administrator's token with \"teams\": null";
        match self {
            Self::All => None,
            Self::Public => Some(format!("this token sees public gateways only, those of teams are missing: {WHOLE}")),
            Self::Teams(count) => {
                let teams = if count == 1 { "one team".to_owned() } else { format!("{count} teams") };
                Some(format!("this token sees public gateways and those of {teams}, others are missing: {WHOLE}"))
            }
            Self::Session => Some(format!(
                "this is the token of a session, which sees what its user may see: gateways are missing unless that is an administrator; {WHOLE}"
            )),
            Self::Unknown => {
                Some(format!("what this token may see cannot be told from it, gateways may be missing: {WHOLE}"))
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
    fn the_claims_say_what_is_seen() {
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
}
