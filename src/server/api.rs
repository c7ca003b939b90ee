//! What gateways may ask over HTTP: the tier of a server, whether it is to be polled, that it was; and the state of the
//! fleet, for people. SPEC section 6. Shell; served on every replica, leader or not.
//!
//! In: the Redis reader, the registry that this replica watches, the fleet's facts. Out: JSON, or an RFC 9457 problem
//! document. Every input is bounded, and none is repeated in an error: a URL may hold a secret. A gateway should poll
//! on every answer but a 200 that says `"due":false`.

mod answers;
mod asked;
mod fleet;
mod openapi;
mod problem;
mod token;

use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tracing::debug;

use crate::publish::Polls;
use crate::registry;
pub use fleet::FleetView;
pub use openapi::page as openapi_page;
use problem::ProblemDetails;
use token::Token;

/// The longest query and the largest body, in bytes: the longest URL fits, however it is escaped.
const MOST_BYTES: usize = 8 * 1024;

/// The paths; the first needs no token, for it tells nothing of this fleet.
const OPENAPI: &str = "/openapi.json";
const CLASSIFICATION: &str = "/v1/classification";
const POLLS_DUE: &str = "/v1/polls/due";
const POLLS_COMPLETED: &str = "/v1/polls/completed";
const FLEET: &str = "/v1/fleet";
const PATHS: [&str; 5] = [OPENAPI, CLASSIFICATION, POLLS_DUE, POLLS_COMPLETED, FLEET];

/// What the answers are made from.
#[derive(Debug)]
pub struct Api {
    polls: Polls,
    registry: registry::Receiver,
    fleet: FleetView,
    token: Option<Token>,
}

impl Api {
    /// `token_file`: the bearer token that every request must show; with `None` whoever reaches the listener may ask.
    #[must_use]
    pub fn new(polls: Polls, registry: registry::Receiver, fleet: FleetView, token_file: Option<PathBuf>) -> Self {
        Self { polls, registry, fleet, token: token_file.map(Token::new) }
    }
}

/// Serves until the shutdown; requests that have begun are answered.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(api)).with_graceful_shutdown(shutdown).into_future().await
}

fn router(api: Api) -> Router {
    let api = Arc::new(api);
    Router::new()
        .route(OPENAPI, get(openapi::show))
        .route(CLASSIFICATION, get(answers::classification))
        .route(POLLS_DUE, get(answers::due))
        .route(POLLS_COMPLETED, post(answers::completed))
        .route(FLEET, get(answers::fleet))
        .fallback(|| async { ProblemDetails::NOT_FOUND })
        .method_not_allowed_fallback(|| async { ProblemDetails::METHOD_NOT_ALLOWED })
        .layer(from_fn_with_state(Arc::clone(&api), guard))
        .with_state(api)
}

/// Before every answer: the token, and the length of the query. After it: nobody may store it.
async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    // Never the path as it was asked, which may be anything.
    let path = PATHS.into_iter().find(|path| *path == request.uri().path());
    let mut response = match admit(&api, path, request.headers(), request.uri().query()).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    debug!(path = path.unwrap_or("(another)"), status = response.status().as_u16(), "api");
    response
}

async fn admit(api: &Api, path: Option<&str>, headers: &HeaderMap, query: Option<&str>) -> Result<(), ProblemDetails> {
    if let (Some(token), true) = (&api.token, path != Some(OPENAPI)) {
        token.check(headers).await?;
    }
    if query.is_some_and(|query| query.len() > MOST_BYTES) {
        return Err(ProblemDetails::QUERY_TOO_LONG);
    }
    Ok(())
}
