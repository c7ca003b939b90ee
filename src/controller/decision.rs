//! What a turn does with the tiers. Pure.

use crate::classify::memory::UsageGap;
use crate::model::Monotonic;

/// The names are labels of metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(const_into_str)]
pub(super) enum Decision {
    /// Classify, publish, write.
    #[strum(serialize = "classified")]
    Classify,
    /// Too little is known: keep the last publication alive, at the longest until this time.
    #[strum(serialize = "kept_alive")]
    KeepAlive {
        reason: HoldReason,
        /// Three intervals after the last publication.
        until: Monotonic,
    },
    /// Too little has been known for too long: nothing is classified any more.
    #[strum(serialize = "given_up")]
    GiveUp { reason: HoldReason },
    /// The fleet is suspended: withdraw the publication and remove the tiers.
    #[strum(serialize = "suspended")]
    Suspend,
}

/// Why a turn cannot classify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldReason {
    /// Usage is incomplete.
    Usage(UsageGap),
    /// The fleet object was never read, so that nobody knows whether the fleet is suspended.
    FleetNotRead,
}

impl HoldReason {
    pub(super) const fn into_str(self) -> &'static str {
        match self {
            Self::Usage(gap) => gap.reason(),
            Self::FleetNotRead => "FleetNotRead",
        }
    }
}

impl Decision {
    /// Decides. `suspend`: what the fleet object says, `None` while it was never read. `until`: three intervals after
    /// the last publication. See `docs/contract.md#when-usage-is-incomplete`.
    pub(super) fn of(suspend: Option<bool>, gap: Option<UsageGap>, until: Monotonic, now: Monotonic) -> Self {
        let reason = match (suspend, gap) {
            (Some(true), _) => return Self::Suspend,
            (None, _) => HoldReason::FleetNotRead,
            (Some(false), Some(gap)) => HoldReason::Usage(gap),
            (Some(false), None) => return Self::Classify,
        };
        if now < until { Self::KeepAlive { reason, until } } else { Self::GiveUp { reason } }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: f64) -> Monotonic {
        Monotonic::at(Duration::from_secs_f64(seconds))
    }

    fn decide(suspend: Option<bool>, gap: Option<UsageGap>, now: f64) -> Decision {
        Decision::of(suspend, gap, at(280.0), at(now))
    }

    #[test]
    fn a_publication_is_kept_alive_while_patience_lasts_and_then_given_up() {
        let gap = UsageGap::Quorum;
        let reason = HoldReason::Usage(gap);
        assert_eq!(decide(Some(false), None, 9999.0), Decision::Classify);
        assert_eq!(decide(Some(false), Some(gap), 101.0), Decision::KeepAlive { reason, until: at(280.0) });
        assert_eq!(decide(Some(false), Some(gap), 279.9), Decision::KeepAlive { reason, until: at(280.0) });
        assert_eq!(decide(Some(false), Some(gap), 280.0), Decision::GiveUp { reason });
    }

    #[test]
    fn the_brake_comes_before_everything_else() {
        assert_eq!(decide(Some(true), None, 101.0), Decision::Suspend);
        assert_eq!(decide(Some(true), Some(UsageGap::Quorum), 9999.0), Decision::Suspend);
    }

    #[test]
    fn without_the_fleet_object_nothing_new_is_published() {
        let reason = HoldReason::FleetNotRead;
        assert_eq!(decide(None, None, 101.0), Decision::KeepAlive { reason, until: at(280.0) });
        assert_eq!(decide(None, None, 280.0), Decision::GiveUp { reason });
    }
}
