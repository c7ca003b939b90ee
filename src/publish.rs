//! Redis: the lock, the publication, and the stamps of polls. The only module that uses the Redis client. IO.
//!
//! In: a [`Publication`] made from a classification, and the [`LeadershipToken`](crate::leadership::LeadershipToken)
//! that every call that writes requires. Out: what was written, or why not ([`NotWritten`]); the [`LockState`] that the
//! keeper watches; what a new leader finds stored. Gateways of another project read the keys: at every instant they
//! must find a whole publication or none (`docs/contract.md#redis-keys`).
//!
//! Three things keep a stale leader from doing harm, in this order: the token (this process no longer leads), the
//! not-after moment (a call that was delayed on its way does nothing), and the term in Redis, which the scripts compare
//! themselves. The first two only save work; the third is the guarantee (`docs/contract.md#the-fence`).
//!
//! Reading for gateways is separate: [`Polls`] reads a server's tier and its poll stamps, and writes the stamps, on any
//! replica and in other programs.
//!
//! This module must not: decide which servers are hot, retry on its own (the loop and the keeper have their periods),
//! write a key outside of the scripts (except staging, which nobody reads, and poll stamps, which belong to no term),
//! or let a password into an error.

mod connection;
mod displacements;
mod error;
pub mod foreign_holder;
pub mod keys;
mod lock;
mod metrics;
mod publication;
mod reader;
mod redis_clock;
mod redis_error;
mod script;
mod sending;
mod settings;
mod store;
mod stored;
mod traces;
mod url;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use error::{Denied, Error, Said};
pub use foreign_holder::{ForeignHolder, TakeoverPolicy};
pub use lock::{LockReports, LockState, Retention, keep};
pub use metrics::Metrics;
pub use publication::Publication;
pub use reader::{Completed, PollMetrics, Polls};
pub use script::StoredKeys;
pub use settings::{RedisAccess, RedisSettings};
pub use store::Store;
pub use stored::{ReadBack, StoredPublication};
pub(crate) use traces::{RedisInspection, inspect};
pub use url::{RedisUrl, RedisUrlError};

use crate::model::Term;
use keys::OwnerId;

/// Readers see the publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The foreign holder from which the lock was taken with it, cleaned for display.
    pub displaced: Option<String>,
}

/// Why a script wrote nothing. As a string: a stable word for conditions and logs.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum NotWritten {
    /// Redis knows a higher term, or our own term in another process's hands.
    Fenced {
        /// The term that refused ours.
        by: Term,
    },
    /// Another program holds the lock, or its key has a wrong type.
    #[strum(serialize = "LockHeldByAnother")]
    Foreign(ForeignHolder),
    /// Another release of this operator holds the lock: its owner id, cleaned for display. Its lock is never taken.
    #[strum(serialize = "LockHeldByAnotherRelease")]
    OtherRelease(String),
    /// This process has yielded to another operator with the same owner id, which is this one.
    #[strum(serialize = "OwnerIdNotUnique")]
    Yielded(OwnerId),
    /// The call reached Redis after its not-after moment.
    TooLate,
    /// The token ended before the call was sent.
    LeadershipOver,
    /// Redis failed. If the answer was lost, the call may have taken effect.
    #[strum(transparent)]
    Failed(Error),
}

impl NotWritten {
    /// A value of the label `outcome` of `redis_publishes_total`.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Fenced { .. } => "fenced",
            Self::Foreign(_) | Self::OtherRelease(_) | Self::Yielded(_) => "not_held",
            Self::TooLate => "too_late",
            Self::LeadershipOver => "mandate_over",
            Self::Failed(_) => "failed",
        }
    }

    /// What Redis said, if it failed.
    pub(crate) fn redis_error(&self) -> Option<String> {
        if let Self::Failed(error) = self { Some(error.to_string()) } else { None }
    }
}

impl From<Error> for NotWritten {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Locks. A thread that panicked meanwhile left a whole value behind: no value is ever in between.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
