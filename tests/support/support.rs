//! Real parts for tests, each owned by the value that stands for it.

pub mod api_proxy;
pub mod cluster;
pub mod fleet;
pub mod operator;
pub mod redis;
pub mod steps;
pub mod worker;

use std::future::Future;
use std::time::Duration;

/// Waits until something is so, and returns it. Fails with what was awaited if it never comes to that.
///
/// `limit` is there to end a test that has failed, not to measure: it is many times what is expected.
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
    tokio::time::timeout(limit, looking).await.unwrap_or_else(|_| panic!("never came to that within {limit:?}: {what}"))
}

/// Long enough for anything that is going to happen.
pub const SOON: Duration = Duration::from_secs(30);
