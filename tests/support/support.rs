//! Real parts for tests. Each ends when the value that owns it is dropped.

pub mod api_proxy;
pub mod cluster;
pub mod contextforge;
pub mod fleet;
pub mod operator;
pub mod redis;
pub mod relay;
pub mod slow_clients;
pub mod slow_cost;
pub mod steps;
pub mod wall_clock;
pub mod worker;

use std::future::Future;
use std::time::Duration;

/// Waits until `look` returns a value, and returns it. Panics with `what` after `limit`.
///
/// The limit only ends a failed test. It is many times the expected duration and measures nothing.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| panic!("did not happen within {limit:?}: {what}"))
}

/// A limit that is long enough for everything that does happen.
pub const SOON: Duration = Duration::from_secs(30);
