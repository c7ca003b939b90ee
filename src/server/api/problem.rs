//! RFC 9457 problem documents: `application/problem+json` with `type`, `title`, `status`, `detail` and a stable `reason`.
//!
//! Everything in them is a constant of this file, but for the word for a fault of Redis: nothing that was asked is
//! repeated. The `type` is `about:blank`, so the title is the status' own phrase; programs look at `reason`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::model::UrlError;
use crate::publish::Error;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProblemDetails {
    status: StatusCode,
    reason: &'static str,
    detail: &'static str,
    /// `WWW-Authenticate`, with 401.
    challenge: Option<&'static str>,
    /// Why Redis did not say, with 503.
    fault: Option<&'static str>,
}

impl ProblemDetails {
    pub(super) const NOT_FOUND: Self = Self::new(
        StatusCode::NOT_FOUND,
        "NotFound",
        "there is nothing at this path; GET /openapi.json says what there is",
    );
    pub(super) const METHOD_NOT_ALLOWED: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        "this path takes another method: see the Allow header",
    );
    pub(super) const TOKEN_MISSING: Self = Self {
        challenge: Some(r#"Bearer realm="mcpgateway-operator""#),
        ..Self::new(StatusCode::UNAUTHORIZED, "TokenMissing", "send the token as 'Authorization: Bearer TOKEN'")
    };
    pub(super) const TOKEN_WRONG: Self = Self {
        challenge: Some(r#"Bearer realm="mcpgateway-operator", error="invalid_token""#),
        ..Self::new(
            StatusCode::UNAUTHORIZED,
            "TokenWrong",
            "the token is not the one in the operator's --api-token-file",
        )
    };
    pub(super) const TOKEN_UNAVAILABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "TokenUnavailable",
        "the operator's --api-token-file cannot be read, or holds no token; nobody is let in until it does",
    );
    pub(super) const QUERY_TOO_LONG: Self =
        Self::new(StatusCode::URI_TOO_LONG, "QueryTooLong", "the query is longer than 8192 bytes");
    pub(super) const BODY_TOO_LARGE: Self =
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", "the body is larger than 8192 bytes");
    pub(super) const BODY_TOO_SLOW: Self =
        Self::new(StatusCode::REQUEST_TIMEOUT, "BodyTooSlow", "the body did not come within 5 seconds");
    pub(super) const BODY_BROKEN: Self = bad("BodyBroken", "the body broke off");
    pub(super) const NOT_JSON: Self =
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "NotJson", "send the body as 'Content-Type: application/json'");
    pub(super) const BAD_BODY: Self = bad("BadBody", "send one JSON object whose values are strings");
    pub(super) const BAD_ENCODING: Self =
        bad("BadEncoding", "the query is not percent-encoded UTF-8: write a % in a value as %25");
    pub(super) const UNKNOWN_PARAMETER: Self = bad(
        "UnknownParameter",
        "a parameter has a name that is not known here; a URL with a query of its own must be percent-encoded (& as %26)",
    );
    pub(super) const DUPLICATE_PARAMETER: Self = bad("DuplicateParameter", "a parameter is given twice");
    pub(super) const MISSING_URL: Self = bad("MissingParameter", "the parameter url is missing");
    pub(super) const MISSING_TYPE: Self =
        bad("MissingParameter", "the parameter type is missing: health or tool_discovery");
    pub(super) const UNKNOWN_TYPE: Self = bad("UnknownPollType", "the type is neither health nor tool_discovery");
    pub(super) const INVALID_GATEWAY_ID: Self =
        bad("InvalidGatewayId", "a gatewayId has 1 to 64 letters, digits, '.', '_' and '-'");
    const INVALID_URL: Self = bad(
        UrlError::Invalid.reason(),
        "the url is none of an MCP server: use http:// or https:// with a host, at most 767 printable characters, no blanks and no #fragment",
    );
    const CREDENTIAL_IN_URL: Self = bad(
        UrlError::Credential.reason(),
        "the url holds a credential (user info or query parameter), so it cannot be registered: ask by the URL without it",
    );
    pub(super) const REGISTRY_NOT_READ: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "RegistryNotRead",
        "this replica has not read the McpGateway objects yet; see its /readyz",
    );
    pub(super) const FACTS_UNAVAILABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "FactsUnavailable",
        "the API server did not say what is known of the fleet",
    );
    const STORE_UNAVAILABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "StoreUnavailable",
        "Redis did not answer as it should: see fault, and the operator's log",
    );

    const fn new(status: StatusCode, reason: &'static str, detail: &'static str) -> Self {
        Self { status, reason, detail, challenge: None, fault: None }
    }
}

const fn bad(reason: &'static str, detail: &'static str) -> ProblemDetails {
    ProblemDetails::new(StatusCode::BAD_REQUEST, reason, detail)
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
        Self { fault: Some(error.reason()), ..Self::STORE_UNAVAILABLE }
    }
}

impl IntoResponse for ProblemDetails {
    fn into_response(self) -> Response {
        let Self { status, reason, detail, challenge, fault } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let mut document = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail, "reason": reason});
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
