//! The HTTP API: the tier of a server, whether a poll is due, that one was completed, that lists have changed, and the
//! status of the fleet. See docs/contract.md#http-api. Every replica serves it.
//!
//! In: the Redis reader, the registry that this replica watches, the status of the fleet. Out: JSON, or an RFC 9457
//! problem document. Every input is bounded, and no error repeats it: a URL may hold a secret. A gateway should poll
//! unless the answer is a 200 with `"due":false`.

mod answers;
mod fleet;
mod parameters;
mod problem;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tracing::debug;

use crate::publish::Polls;
use crate::registry;
pub(crate) use fleet::FleetView;
use problem::ProblemDetails;
use token::Token;

/// The size limit of a query and of a body, in bytes. The longest URL fits, even if every byte is percent-encoded.
const MAX_BYTES: usize = 8 * 1024;

/// The paths. The first needs no token, because it reveals nothing about the fleet.
const OPENAPI: &str = "/openapi.json";
const CLASSIFICATION: &str = "/v1/classification";
const POLLS_DUE: &str = "/v1/polls/due";
const POLLS_COMPLETED: &str = "/v1/polls/completed";
const POLLS_CHANGED: &str = "/v1/polls/changed";
const FLEET: &str = "/v1/fleet";
const PATHS: [&str; 6] = [OPENAPI, CLASSIFICATION, POLLS_DUE, POLLS_COMPLETED, POLLS_CHANGED, FLEET];

/// The description of this API, an `OpenAPI` 3.1 document. The test below compares its limits, names and reasons with
/// the code; `tests/it/polls/openapi.rs` compares every path, status and answer with a running operator.
pub const OPENAPI_DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// The API and what it reads.
pub(crate) struct Api {
    polls: Polls,
    registry: registry::Receiver,
    fleet: FleetView,
    token: Option<Token>,
}

impl Api {
    /// `token_file`: the file with the bearer token that every request needs; with `None` no request needs one.
    pub(crate) fn new(
        polls: Polls,
        registry: registry::Receiver,
        fleet: FleetView,
        token_file: Option<PathBuf>,
    ) -> Self {
        Self { polls, registry, fleet, token: token_file.map(Token::new) }
    }

    pub(crate) fn router(self) -> Router {
        let api = Arc::new(self);
        Router::new()
            .route(OPENAPI, get(([(header::CONTENT_TYPE, "application/json")], OPENAPI_DOCUMENT)))
            .route(CLASSIFICATION, get(answers::classification))
            .route(POLLS_DUE, get(answers::due))
            .route(POLLS_COMPLETED, post(answers::completed))
            .route(POLLS_CHANGED, post(answers::changed))
            .route(FLEET, get(answers::fleet))
            .layer(DefaultBodyLimit::max(MAX_BYTES))
            .fallback(|| async { ProblemDetails::NOT_FOUND })
            .method_not_allowed_fallback(|| async { ProblemDetails::METHOD_NOT_ALLOWED })
            .layer(from_fn_with_state(Arc::clone(&api), guard))
            .with_state(api)
    }
}

/// Checks the token and the length of the query before each handler, and forbids caching after it.
async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    // Only known paths are logged: another one may hold a secret.
    let path = PATHS.into_iter().find(|path| *path == request.uri().path());
    let authorized = match &api.token {
        Some(token) if path != Some(OPENAPI) => token.check(request.headers()).await,
        _ => Ok(()),
    };
    let mut response = match authorized {
        Ok(()) if request.uri().query().is_some_and(|query| query.len() > MAX_BYTES) => {
            ProblemDetails::QUERY_TOO_LONG.into_response()
        }
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    debug!(path = path.unwrap_or("(unknown)"), status = response.status().as_u16(), "api");
    response
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use strum::VariantArray;

    use super::*;
    use crate::api::v1alpha1::FleetStatus;
    use crate::model::{SHAPE_PATTERN, URL_MAX_CHARS};
    use crate::poll::{PollReason, PollType};

    #[test]
    fn the_document_agrees_with_the_code() {
        let document: Value = serde_json::from_str(OPENAPI_DOCUMENT).unwrap();
        let schemas = &document["components"]["schemas"];
        let url = json!({"type": "string", "pattern": SHAPE_PATTERN, "maxLength": URL_MAX_CHARS});
        assert_eq!(schemas["url"], url);
        assert_eq!(schemas["type"]["enum"], json!(PollType::VARIANTS.iter().map(<&str>::from).collect::<Vec<_>>()));
        assert_eq!(
            schemas["PollDecision"]["properties"]["reason"]["enum"],
            json!(PollReason::VARIANTS.iter().map(<&str>::from).collect::<Vec<_>>())
        );
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let limit = format!("{MAX_BYTES} bytes");
        assert!(document["info"]["description"].as_str().unwrap().contains(&limit));
        // FleetStatus and the types in it have the same fields in both; Condition is described by Kubernetes.
        let mut fleet = serde_json::to_value(schemars::schema_for!(FleetStatus)).unwrap();
        let mut types = fleet["$defs"].take();
        types["FleetStatus"] = fleet;
        for (name, schema) in types.as_object().unwrap().iter().filter(|(name, _)| !name.contains('.')) {
            let Some(fields) = schema["properties"].as_object() else { continue };
            let described = schemas[name]["properties"].as_object().unwrap_or_else(|| panic!("{name} is missing"));
            assert!(described.keys().eq(fields.keys()), "{name}");
        }
        let mut paths = PATHS;
        paths.sort_unstable();
        assert!(document["paths"].as_object().unwrap().keys().eq(paths));
    }
}
