//! An event of the fleet that people should see. Pure.

/// Becomes a Kubernetes Event. The reasons are stable:
///
/// | reason | type | when |
/// |---|---|---|
/// | `BecameLeader` | Normal | this replica has acquired the Lease: at which term, and how it came free |
/// | `SteppedDown` | Normal | this replica does not lead any more, and why |
/// | `TermRaised` | Warning | a store refused the term, and this replica continues at a higher one |
/// | `UsagePartial` | Warning | some worker endpoints are silent: which, and since when |
/// | `UsageIncomplete` | Warning | too little usage is known to classify, and why (Normal if nothing was ever used) |
/// | `UsageComplete` | Normal | every endpoint reports again |
/// | `MostGatewaysGone` | Warning | more than half of the registry has gone within an interval: how many, since when |
/// | `GatewaysReturned` | Normal | at least half of it is there again |
/// | `FleetNotWritten` | Warning | the leader cannot write the fleet object, and why |
/// | `RedisLockTaken` | Normal | the Redis lock was taken over from another program that published nothing |
/// | `RedisLockHeldByAnother` | Warning | publishing waits, because another program or release holds the Redis lock |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetEvent {
    /// One of the reasons above.
    pub reason: &'static str,
    /// The message: at most 1 KiB, without secrets.
    pub note: String,
    /// Whether a person should act.
    pub warning: bool,
}

impl FleetEvent {
    /// An event that is part of normal operation.
    pub const fn normal(reason: &'static str, note: String) -> Self {
        Self { reason, note, warning: false }
    }

    /// An event that a person should know about.
    pub const fn warning(reason: &'static str, note: String) -> Self {
        Self { reason, note, warning: true }
    }
}
