//! File descriptors: how many this process may have, and what it must not use them all for. IO: its own limits.
//!
//! Every endpoint costs a connection. Without any left, neither the Lease nor Redis could be reached anew, so workers get
//! what is left when everything else has its own.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// For everything but workers: standard streams, the runtime, listeners and those who scrape them, three clients of the
/// API server with their watches, Redis, and files that are read again.
const RESERVED: u64 = 40;

/// Raises the limit of open files as far as that is allowed, and says how many connections to workers fit below it.
/// `concurrency`: how many are asked at once (`--worker-concurrency`).
pub(super) fn connections(concurrency: NonZeroUsize) -> NonZeroUsize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    // None is no limit.
    let limit = if raised { maximum } else { current }.unwrap_or(u64::MAX);
    told(limit, concurrency)
}

/// Says it where the limit is too low for the setting.
fn told(limit: u64, concurrency: NonZeroUsize) -> NonZeroUsize {
    let fit = fit(limit);
    if fit < concurrency {
        let needed = RESERVED + u64::try_from(concurrency.get()).unwrap_or(u64::MAX);
        warn!(
            limit,
            fit,
            needed,
            "few file descriptors: fewer workers are asked at once than --worker-concurrency says; raise the limit \
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
    fn workers_get_what_the_rest_does_not_need() {
        assert_eq!([fit(1024).get(), fit(64).get(), fit(40).get(), fit(0).get()], [984, 24, 1, 1]);
    }
}
