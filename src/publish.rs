//! The Redis room: the only one that knows Redis (SPEC section 4). IO.
//!
//! In: a [`Publication`] made from a classification, and the [`LeadershipToken`](crate::leadership::LeadershipToken) that every
//! writing call requires. Out: an [`PublishOutcome`], the [`LockState`] that the keeper watches over, what a new leader finds
//! stored. Readers are gateways of another project: at every instant they must find a whole publication or none.
//!
//! Three things keep a stale leader from doing harm, in this order: the token (this process no longer believes),
//! the not-after moment (a call that was held up on its way does nothing), and the term in Redis, which the scripts
//! compare themselves. The first two save trouble; the third is the one that cannot fail.
//!
//! Reading is apart from that: [`Polls`] asks for a server's tier and for its poll stamps, and writes those, on any
//! replica and in programs that are no operator.
//!
//! This room must not: decide who is hot, retry on its own (the loop and the keeper have their periods), write a key
//! outside of the scripts (but for staging, which nobody reads, and for poll stamps, which belong to no term), or let a
//! password into an error.

mod connection;
mod error;
pub mod fence;
pub mod foreign_holder;
pub mod keys;
mod lock;
mod metrics;
mod publication;
mod readback;
mod reader;
mod redis_clock;
mod script;
mod sending;
mod settings;
mod store;
mod stored;
mod traces;

use std::time::Duration;

pub use error::Error;
use foreign_holder::ForeignHolder;
pub use foreign_holder::{OtherHolder, TakeoverPolicy};
use keys::LockHolder;
pub use lock::{LockReports, LockState, Retention, keep};
pub use metrics::Metrics;
pub use publication::{Difference, Publication};
pub use readback::ReadBack;
pub use reader::{Completed, PollMetrics, Polls};
pub use script::Found;
pub use settings::{RedisAccess, RedisSettings};
pub use store::Store;
pub use stored::Stored;
pub use traces::{Seen, look};

use crate::model::Term;

/// What became of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// Readers see it.
    Published {
        /// The foreign holder that has lost the lock by it, fit to be shown.
        displaced: Option<String>,
    },
    /// Redis has seen a term that is higher, or our own in other hands. Nothing was written.
    Fenced {
        /// The term that refused us.
        by: Option<Term>,
    },
    /// The lock is somebody else's. Nothing was written.
    NotHeld {
        /// Who has it.
        holder: LockHolder,
    },
    /// The call reached Redis after its time. Nothing was written.
    TooLate,
    /// The token ended first. Nothing became visible.
    LeadershipOver,
    /// Redis failed. Whether it took effect is not known if the answer was lost: the next publication must be full.
    Failed(Error),
}

/// Why a script wrote nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// Redis knows a higher term, or our own term in another process's hands.
    Fenced {
        /// The term that refused ours.
        by: Term,
    },
    /// Another release or another program holds the lock.
    NotHeld(OtherHolder),
    /// The call reached Redis after its time.
    TooLate,
    /// The token ended before the call was sent.
    LeadershipOver,
    /// Redis failed. If the answer was lost, the call may have taken effect.
    Failed(Error),
}

impl NotWritten {
    /// A value of the label `outcome` of `redis_publishes_total`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Fenced { .. } => "fenced",
            Self::NotHeld(_) => "not_held",
            Self::TooLate => "too_late",
            Self::LeadershipOver => "mandate_over",
            Self::Failed(_) => "failed",
        }
    }
}

/// How a publication was sent: a label of `redis_publishes_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything, staged.
    Full,
    /// What changed, on a base that was proven.
    Difference,
    /// New metadata and timestamp only.
    Unchanged,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Difference => "difference",
            Self::Unchanged => "unchanged",
        }
    }
}

impl PublishOutcome {
    /// Readers see it, and nobody lost the lock by it.
    pub const PUBLISHED: Self = Self::Published { displaced: None };

    /// The label of `redis_publishes_total`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Published { .. } => "published",
            Self::Fenced { .. } => "fenced",
            Self::NotHeld { .. } => "not_held",
            Self::TooLate => "too_late",
            Self::LeadershipOver => "mandate_over",
            Self::Failed(_) => "failed",
        }
    }
}

/// What a renewal keeps alive beside the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Hot, cold, metadata and timestamp, for this long from now.
    All(Duration),
    /// Nothing: what is published runs out by itself.
    LockOnly,
}

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewOutcome {
    /// The lock is ours, taken just now if need be.
    Renewed(Found),
    /// As [`PublishOutcome::Fenced`].
    Fenced {
        /// The term that refused us.
        by: Option<Term>,
    },
    /// As [`PublishOutcome::NotHeld`].
    NotHeld {
        /// Who has it.
        holder: LockHolder,
        /// The same to the byte, and whether it publishes.
        rival: ForeignHolder,
    },
    /// As [`PublishOutcome::TooLate`].
    TooLate,
    /// The token ended first.
    LeadershipOver,
    /// Redis failed; whether it took effect is not known if the answer was lost.
    Failed(Error),
}
