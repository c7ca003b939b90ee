//! The HTTP API: the tier of a server, whether a poll is due, that one was completed, and the status of the fleet. See
//! docs/contract.md#http-api. Every replica serves it.
//!
//! In: the Redis reader, the registry that this replica watches, the status of the fleet. Out: JSON, or an RFC 9457
//! problem document. Every input is bounded, and no error repeats it: a URL may hold a secret. A gateway should poll
//! unless the answer is a 200 with `"due":false`.

mod answers;
mod fleet;
mod openapi;
mod parameters;
mod problem;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tracing::debug;

use crate::publish::Polls;
use crate::registry;
pub use fleet::FleetView;
pub use openapi::DOCUMENT as OPENAPI_DOCUMENT;
use problem::ProblemDetails;
use token::Token;

/// The size limit of a query and of a body, in bytes. The longest URL fits, even if every byte is percent-encoded.
const MAX_BYTES: usize = 8 * 1024;

/// The paths. The first needs no token, because it reveals nothing about the fleet.
const OPENAPI: &str = "/openapi.json";
const CLASSIFICATION: &str = "/v1/classification";
const POLLS_DUE: &str = "/v1/polls/due";
const POLLS_COMPLETED: &str = "/v1/polls/completed";
const FLEET: &str = "/v1/fleet";
const PATHS: [&str; 5] = [OPENAPI, CLASSIFICATION, POLLS_DUE, POLLS_COMPLETED, FLEET];

/// The API and what it reads.
#[derive(Debug)]
pub struct Api {
    polls: Polls,
    registry: registry::Receiver,
    fleet: FleetView,
    token: Option<Token>,
}

impl Api {
    /// `token_file`: the file with the bearer token that every request needs; with `None` no request needs one.
    pub fn new(polls: Polls, registry: registry::Receiver, fleet: FleetView, token_file: Option<PathBuf>) -> Self {
        Self { polls, registry, fleet, token: token_file.map(Token::new) }
    }

    pub(crate) fn router(self) -> Router {
        let api = Arc::new(self);
        Router::new()
            .route(OPENAPI, get(openapi::show))
            .route(CLASSIFICATION, get(answers::classification))
            .route(POLLS_DUE, get(answers::due))
            .route(POLLS_COMPLETED, post(answers::completed))
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
    let mut response = match check(&api, path, request.headers(), request.uri().query()).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    debug!(path = path.unwrap_or("(unknown)"), status = response.status().as_u16(), "api");
    response
}

async fn check(api: &Api, path: Option<&str>, headers: &HeaderMap, query: Option<&str>) -> Result<(), ProblemDetails> {
    if let (Some(token), true) = (&api.token, path != Some(OPENAPI)) {
        token.check(headers).await?;
    }
    if query.is_some_and(|query| query.len() > MAX_BYTES) {
        return Err(ProblemDetails::QUERY_TOO_LONG);
    }
    Ok(())
}
