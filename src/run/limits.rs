//! The limit of file descriptors, and how many of them connections may use. IO: the limits of this process.
//!
//! Every connection to a worker and from a client takes a descriptor. Without free ones neither the Lease nor Redis
//! could be reached again, so some are reserved, each listener gets a share, and workers get the rest.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Reserved for everything but workers and the clients of listeners: standard streams, the runtime, the listeners,
/// three clients of the API server with their watches, Redis, and files that are read again.
const RESERVED: u64 = 28;
/// How many listeners there are at most: metrics, health and the API.
const LISTENERS: u64 = 3;
/// The most connections of clients to each listener.
const CLIENTS: u64 = 128;
/// Each listener gets at most this part of all descriptors.
const SHARE: u64 = 16;

/// How many connections may be open at once, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connections {
    limit: u64,
    /// Clients of each listener.
    pub(super) clients: NonZeroUsize,
    pub(super) workers: NonZeroUsize,
}

impl Connections {
    /// Raises the limit of open files as far as allowed, and divides it.
    pub(super) fn new() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
        // `None` means unlimited.
        Self::within(if raised { maximum } else { current }.unwrap_or(u64::MAX))
    }

    fn within(limit: u64) -> Self {
        let clients = CLIENTS.min(limit / SHARE);
        let workers = limit.saturating_sub(RESERVED + LISTENERS * clients);
        let [clients, workers] = [clients, workers].map(|count| {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
        });
        Self { limit, clients, workers }
    }

    /// Logs a warning if fewer workers can be asked at once than `concurrency` (`--worker-concurrency`).
    pub(super) fn check(self, concurrency: NonZeroUsize) {
        let Self { limit, workers: fit, .. } = self;
        if fit < concurrency {
            let more = u64::try_from(concurrency.get() - fit.get()).unwrap_or(u64::MAX);
            let needed = limit.saturating_add(more);
            warn!(
                limit,
                fit,
                needed,
                "few file descriptors: fewer workers than --worker-concurrency are asked at once; raise the limit \
                 (ulimit -n, LimitNOFILE) or lower --worker-concurrency"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_what_is_not_reserved() {
        let shares = |limit| {
            let Connections { clients, workers, .. } = Connections::within(limit);
            [clients.get(), workers.get()]
        };
        assert_eq!(shares(1 << 20), [128, (1 << 20) - 412]);
        assert_eq!(shares(1024), [64, 804]);
        assert_eq!(shares(64), [4, 24]);
        assert_eq!(shares(40), [2, 6]);
        assert_eq!(shares(0), [1, 1]);
    }
}
