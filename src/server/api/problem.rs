//! RFC 9457 problem documents: `application/problem+json` with `type`, `title`, `status`, `detail` and a stable
//! `reason`.
//!
//! All texts are constants, so that no document repeats anything from a request. The `type` is `about:blank`, so the
//! title is the phrase of the status code; programs read `reason`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::model::UrlError;
use crate::publish::Error;

/// A problem document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProblemDetails {
    status: StatusCode,
    reason: &'static str,
    detail: &'static str,
    /// The `WWW-Authenticate` header of a 401.
    challenge: Option<&'static str>,
    /// The reason of a Redis error, in a 503.
    fault: Option<&'static str>,
}

impl ProblemDetails {
    pub(super) const NOT_FOUND: Self = Self::new(
        StatusCode::NOT_FOUND,
        "NotFound",
        "nothing is served at this path; GET /openapi.json lists the paths",
    );
    pub(super) const METHOD_NOT_ALLOWED: Self =
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "use a method in the Allow header");
    pub(super) const TOKEN_MISSING: Self = Self {
        challenge: Some(r#"Bearer realm="mcpgateway-operator""#),
        ..Self::new(StatusCode::UNAUTHORIZED, "TokenMissing", "send the token as 'Authorization: Bearer TOKEN'")
    };
    pub(super) const TOKEN_WRONG: Self = Self {
        challenge: Some(r#"Bearer realm="mcpgateway-operator", error="invalid_token""#),
        ..Self::new(StatusCode::UNAUTHORIZED, "TokenWrong", "send the token in the operator's --api-token-file")
    };
    pub(super) const TOKEN_UNAVAILABLE: Self = unavailable(
        "TokenUnavailable",
        "the operator's --api-token-file cannot be read or is empty; requests are refused until it is fixed",
    );
    pub(super) const QUERY_TOO_LONG: Self =
        Self::new(StatusCode::URI_TOO_LONG, "QueryTooLong", "the query is longer than 8192 bytes");
    pub(super) const BODY_TOO_LARGE: Self =
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", "the body is larger than 8192 bytes");
    pub(super) const BODY_TOO_SLOW: Self =
        Self::new(StatusCode::REQUEST_TIMEOUT, "BodyTooSlow", "the body did not arrive within 5 seconds");
    pub(super) const BODY_BROKEN: Self = bad("BodyBroken", "the body is incomplete");
    pub(super) const NOT_JSON: Self =
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NotJson", "send the body as 'Content-Type: application/json'");
    pub(super) const BAD_BODY: Self =
        bad("BadBody", "send one JSON object whose values are strings, except for ttlSeconds");
    pub(super) const BAD_ENCODING: Self =
        bad("BadEncoding", "the query is not percent-encoded UTF-8; write % in a value as %25");
    pub(super) const UNKNOWN_PARAMETER: Self =
        bad("UnknownParameter", "a parameter is unknown; percent-encode the url if it has a query (write & as %26)");
    pub(super) const DUPLICATE_PARAMETER: Self = bad("DuplicateParameter", "a parameter is given twice");
    pub(super) const MISSING_URL: Self = bad("MissingParameter", "add the parameter url");
    pub(super) const MISSING_TYPE: Self = bad("MissingParameter", "add the parameter type: health or tool_discovery");
    pub(super) const UNKNOWN_TYPE: Self = bad("UnknownPollType", "use health or tool_discovery as the type");
    pub(super) const INVALID_GATEWAY_ID: Self =
        bad("InvalidGatewayId", "use a gatewayId of 1 to 64 letters, digits, '.', '_' and '-'");
    pub(super) const INVALID_TTL: Self = bad("InvalidTtl", "use a number as ttlSeconds");
    pub(super) const TTL_OF_HEALTH: Self =
        bad("InvalidTtl", "leave out ttlSeconds: only the list of a tool_discovery can be valid for a time");
    const INVALID_URL: Self = bad(
        "InvalidUrl",
        "use an http:// or https:// url with a host, at most 767 printable characters without blanks and #",
    );
    const CREDENTIAL_IN_URL: Self = bad(
        "CredentialInUrl",
        "remove the credential from the url (user info or query parameter); servers are registered without",
    );
    pub(super) const REGISTRY_NOT_READ: Self =
        unavailable("RegistryNotRead", "this replica has not read the McpGateway objects yet; see /readyz");
    pub(super) const FACTS_UNAVAILABLE: Self =
        unavailable("FactsUnavailable", "the API server did not return the status of the fleet");
    const STORE_UNAVAILABLE: Self =
        unavailable("StoreUnavailable", "Redis failed; see fault, and the log of the operator");

    const fn new(status: StatusCode, reason: &'static str, detail: &'static str) -> Self {
        Self { status, reason, detail, challenge: None, fault: None }
    }
}

const fn bad(reason: &'static str, detail: &'static str) -> ProblemDetails {
    ProblemDetails::new(StatusCode::BAD_REQUEST, reason, detail)
}

const fn unavailable(reason: &'static str, detail: &'static str) -> ProblemDetails {
    ProblemDetails::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail)
}

impl From<UrlError> for ProblemDetails {
    fn from(error: UrlError) -> Self {
        match error {
            UrlError::Invalid => Self::INVALID_URL,
            UrlError::Credential => Self::CREDENTIAL_IN_URL,
        }
    }
}

impl From<Error> for ProblemDetails {
    fn from(error: Error) -> Self {
        Self { fault: Some(error.into()), ..Self::STORE_UNAVAILABLE }
    }
}

impl IntoResponse for ProblemDetails {
    fn into_response(self) -> Response {
        let Self { status, reason, detail, challenge, fault } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let mut document = json!({
            "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail, "reason": reason,
        });
        if let Some(fault) = fault {
            document["fault"] = fault.into();
        }
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, document.to_string()).into_response();
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
