//! The CEL rules of the CRD (`docs/contract.md#the-mcpgateway-resource`). Pure.
//!
//! The rules on the URL are on `spec` with a field path, because the API server repeats the value in the error of a
//! rule on the field itself, and the value may be a secret.

use kube::core::Rule;

use crate::model::query_names;

/// A rule on `spec.url`.
pub(super) fn on_url(rule: String, message: &str) -> Rule {
    Rule::new(rule).message(message).field_path(".url")
}

/// No name of a query parameter is that of a credential, unless it is harmless or vouched for. Each parameter gets
/// three `&` before it and one after it, so that no name that is found takes those of the next one. A harmless name is
/// found with two of them in front, and so before it can be found as a credential: the API server can bound the cost of
/// looking at the start of what is found, and not that of another pattern.
pub(super) fn no_credential_in_query() -> String {
    let (harmless, credential) = (query_names::HARMLESS, query_names::CREDENTIAL);
    format!(
        "(self.url.replace('?', '&').replace('&', '&&&') + '&')\
         .findAll(r'''&(?:&{harmless}|{credential})[=&]''')\
         .all(name, name.startsWith('&&') || (has(self.allowedQueryNames) && self.allowedQueryNames\
         .exists(vouched, name == '&' + vouched + '=' || name == '&' + vouched + '&')))"
    )
}

pub(super) fn gateway_id_shape() -> Rule {
    Rule::new("!has(self.gatewayId) || self.gatewayId.matches('^[A-Za-z0-9._-]{1,64}$')")
        .message(
            "use the id under which the gateway workers know the server: 1 to 64 letters, digits, '.', '_' and '-'; \
             or leave it out",
        )
        .field_path(".gatewayId")
}

/// The name in `ContextForge` stays. The rule is at the root, because one on an optional field is skipped when the
/// field comes or goes. It compares what is written, because a rule cannot see the namespace that the default begins
/// with.
pub(super) fn registered_name_stays() -> Rule {
    Rule::new(
        "!has(oldSelf.spec.registration) || !has(self.spec.registration) || \
         (has(oldSelf.spec.registration.name) ? oldSelf.spec.registration.name : '') == \
         (has(self.spec.registration.name) ? self.spec.registration.name : '')",
    )
    .message(
        "spec.registration.name cannot be changed, given or taken away: clients know the server's tools by it; delete \
         the object and create it again",
    )
}

pub(super) fn max_interval() -> Rule {
    Rule::new(
        "!has(self.maxInterval) || (self.maxInterval.matches('^([0-9]+([.][0-9]+)?(h|m|s|ms))+$') && \
         duration(self.maxInterval) >= duration('1s') && duration(self.maxInterval) <= duration('720h'))",
    )
    .message("use a duration from 1s to 720h, with the units h, m, s and ms, such as 90s, 15m or 1h30m")
    .field_path(".maxInterval")
}

/// The fence in the API server: it refuses the status of a former leader (`docs/contract.md#the-fence`). The rule is at
/// the root, because a rule on a field is skipped when the field is dropped. A fall of more than 1,000,000 is allowed,
/// so that a term that was tampered with can be corrected.
pub(super) fn term_never_falls() -> Rule {
    Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.term) || (has(self.status) && has(self.status.term) && \
         (self.status.term >= oldSelf.status.term || oldSelf.status.term - self.status.term > 1000000))",
    )
    .message(
        "status.term must not fall or be dropped: a newer leader of mcpgateway-operator has written this status; \
         leave status to the operator",
    )
}

/// The same rule in Rust, for the model of the protocol (`tests/model`); a test on a real API server compares the two.
/// The arguments are the terms in the status before and after a write, valid or not.
pub fn term_may_follow(before: Option<i32>, after: Option<i32>) -> bool {
    match (before.map(i64::from), after.map(i64::from)) {
        (None, _) => true,
        (Some(before), Some(after)) => after >= before || before - after > 1_000_000,
        (Some(_), None) => false,
    }
}
