//! Something that a person who looks at the Lease should see. Pure.

/// Becomes an Event on the Lease. The reasons, all of them stable words:
///
/// | reason | type | when |
/// |---|---|---|
/// | `BecameLeader` | Normal | this replica has taken the Lease: at which term, and how it came free |
/// | `SteppedDown` | Normal | it does not lead any more, and why |
/// | `TermRaised` | Warning | a store refused its term, and it goes on at a higher one |
/// | `UsagePartial` | Warning | some worker endpoints are silent: which, and since when |
/// | `UsageIncomplete` | Warning | too little is known to classify, and why (Normal while nobody has used anything) |
/// | `UsageComplete` | Normal | every endpoint is heard again |
/// | `RedisLockTaken` | Normal | the Redis lock was taken from another program that published nothing |
/// | `RedisLockHeldByAnother` | Warning | publishing waits, because another program or release holds the Redis lock |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetEvent {
    /// One of the reasons above.
    pub reason: &'static str,
    /// In words, at most 1 KiB; holds no secret.
    pub note: String,
    /// Whether somebody should do something about it.
    pub warning: bool,
}

impl FleetEvent {
    /// What goes as it should.
    #[must_use]
    pub const fn normal(reason: &'static str, note: String) -> Self {
        Self { reason, note, warning: false }
    }

    /// What somebody should know of.
    #[must_use]
    pub const fn warning(reason: &'static str, note: String) -> Self {
        Self { reason, note, warning: true }
    }
}
