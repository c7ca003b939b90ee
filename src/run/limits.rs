//! What this process may use of the system. IO: one system call.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises the limit of open files to what the system's owner allows. A connection is kept open to every endpoint, and the
/// usual limit of 1,024 is fewer than a large fleet has workers; it is that low only for programs that use `select`.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, limit = ?limit.current, "the limit of open files could not be raised; it must exceed the number of endpoints");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_is_allowed() {
        let before = getrlimit(Resource::Nofile);
        let lower = before.maximum.map_or(4_096, |most| most - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), ..before }).unwrap();
        raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
