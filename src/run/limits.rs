//! The limit of file descriptors, and how many of them connections to workers may use. IO: the limits of this process.
//!
//! Every endpoint takes a connection. Without free descriptors neither the Lease nor Redis could be reached again, so
//! some are reserved, and workers get the rest.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Reserved for everything but workers: standard streams, the runtime, listeners and their clients, three clients of
/// the API server with their watches, Redis, and files that are read again.
const RESERVED: u64 = 40;

/// Raises the limit of open files as far as allowed, and returns how many connections to workers fit below it. Logs a
/// warning if these are fewer than `concurrency`, the number of workers to be asked at once (`--worker-concurrency`).
pub(super) fn connections(concurrency: NonZeroUsize) -> NonZeroUsize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    // `None` means unlimited.
    let limit = if raised { maximum } else { current }.unwrap_or(u64::MAX);
    let fit = fit(limit);
    if fit < concurrency {
        let needed = RESERVED + u64::try_from(concurrency.get()).unwrap_or(u64::MAX);
        warn!(
            limit,
            fit,
            needed,
            "few file descriptors: fewer workers than --worker-concurrency are asked at once; raise the limit \
             (ulimit -n, LimitNOFILE) or lower --worker-concurrency"
        );
    }
    fit
}

fn fit(limit: u64) -> NonZeroUsize {
    let left = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    NonZeroUsize::new(left).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_what_is_not_reserved() {
        assert_eq!([fit(1024).get(), fit(64).get(), fit(40).get(), fit(0).get()], [984, 24, 1, 1]);
    }
}
