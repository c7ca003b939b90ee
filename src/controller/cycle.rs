//! The decisions of one turn. Pure: what the turn has found goes in, what is to be done comes out; [`super`] does it.

use std::time::Duration;

use crate::classify::memory::UsageGap;
use crate::model::UnixTime;

/// What a turn does with the tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Classify, publish, write.
    Classify,
    /// Too little is known: leave what was published alive, at the longest until this time.
    KeepAlive {
        /// Why.
        missing: UsageGap,
        /// Three intervals after the timestamp of the last publication.
        until: UnixTime,
    },
    /// Too little has been known for too long: nothing is classified any more.
    GiveUp {
        /// Why.
        missing: UsageGap,
    },
}

impl Decision {
    /// The decision of SPEC section 2, *What is missing*. `since`: the timestamp of the last publication.
    #[must_use]
    pub fn of(missing: Option<UsageGap>, since: UnixTime, interval: Duration, now: UnixTime) -> Self {
        let until = since.after(interval * 3);
        match missing {
            None => Self::Classify,
            Some(missing) if now < until => Self::KeepAlive { missing, until },
            Some(missing) => Self::GiveUp { missing },
        }
    }

    /// The label of metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Classify => "classified",
            Self::KeepAlive { .. } => "kept_alive",
            Self::GiveUp { .. } => "given_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_kept_alive_for_three_intervals_and_then_given_up() {
        let at = |seconds| UnixTime::from_seconds(seconds).unwrap();
        let decide = |missing, now| Decision::of(missing, at(100.0), Duration::from_secs(60), at(now));
        let missing = UsageGap::Quorum;
        assert_eq!(decide(None, 9999.0), Decision::Classify);
        assert_eq!(decide(Some(missing), 101.0), Decision::KeepAlive { missing, until: at(280.0) });
        assert_eq!(decide(Some(missing), 279.9), Decision::KeepAlive { missing, until: at(280.0) });
        assert_eq!(decide(Some(missing), 280.0), Decision::GiveUp { missing });
    }
}
