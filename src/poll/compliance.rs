//! Whether gateways poll by what is published, judged by the stamps that they leave of their polls. Pure.
//!
//! In: what Redis holds for some gateways ([`Traces`]). Out: [`Compliance`]. The leader samples every ten cycles,
//! and every cycle until there are gateways and stamps; `doctor` when it runs. Both judge here.
//!
//! A stamp is kept for twice the interval of its server's tier (`docs/contract.md#redis-keys`), so its age plus its
//! remaining time to live is twice the interval that its writer uses. Under a refresh plan the stamp of a cold server
//! lives for at least twice its planned interval, and the stamp of a list with a ttl for at least twice that. Both say
//! nothing about their writer's interval, so such a server is not measured.
//! ContextForge 1.0.7 writes stamps with its `GATEWAY_AUTO_REFRESH_INTERVAL` for hot servers and three times that for
//! all others, and only if `HOT_COLD_CLASSIFICATION_ENABLED` and `AUTO_REFRESH_SERVERS` are on.

use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use super::{Intervals, LastPoll, Poll, PollType, Stamp, is_plausible};
use crate::model::{ObjectName, PlannedInterval, Tier, UnixTime};
use crate::registry::{GatewayRecord, RegistrySnapshot};

/// The largest number of gateways in a sample.
pub(crate) const MOST: usize = 64;

/// By how much the lifetime of a stamp may differ: clocks, the way to Redis, whole seconds.
const TOLERANCE: Duration = Duration::from_secs(10);

/// The polls to sample, with the objects that they belong to. Hot gateways come first: they are polled most often.
pub(crate) fn sample(registry: &RegistrySnapshot) -> Vec<(ObjectName, Poll)> {
    let is_hot = |(record, _): &(&GatewayRecord, usize)| record.status.tier == Some(Tier::Hot);
    let (hot, others) = (registry.registered().filter(is_hot), registry.registered().filter(move |one| !is_hot(one)));
    let poll = |(record, place): (&GatewayRecord, usize)| {
        let (url, gateway) = (registry.servers()[place].clone(), record.gateway_id().cloned());
        (record.name.clone(), Poll { url, gateway, kind: PollType::ToolDiscovery })
    };
    hot.chain(others).take(MOST).map(poll).collect()
}

/// What Redis holds for the last tool discovery of one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub tier: Option<Tier>,
    pub last: LastPoll,
    /// The remaining time to live of the stamp; `None` without expiry, or without stamp.
    pub left: Option<Duration>,
    pub planned: Option<PlannedInterval>,
}

/// What Redis holds for a sample of gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Whether a ContextForge with `CACHE_TYPE=redis` uses this Redis.
    pub contextforge: bool,
    /// At most [`MOST`], in the order of the polls.
    pub traces: Vec<Trace>,
}

/// Whether gateways poll by what is published. As a string: the reason of the condition `Obeyed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum Compliance {
    /// They do.
    #[strum(serialize = "Obeyed")]
    Yes,
    /// They do not.
    #[strum(transparent)]
    No(NonComplianceReason),
    /// That cannot be judged: no gateway is registered.
    NoGateways,
    /// That cannot be judged: no poll is stamped yet, and gateways may not have had time to poll.
    NoStampsYet,
}

/// Why gateways do not poll by what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum NonComplianceReason {
    /// No ContextForge uses this Redis.
    NoContextForge,
    /// ContextForge uses this Redis, but stamps no poll of a registered gateway.
    NoStamps,
    /// The lifetimes of the stamps imply another interval.
    OtherInterval,
    /// Only the cold interval differs: it is three times the hot one.
    ColdIsThrice,
    /// The stamps are not times, or in the future.
    BadStamps,
}

impl Trace {
    /// The lifetime that its writer gave it; `None` without expiry, or if the stamp is not plausible.
    fn lifetime(&self, now: UnixTime) -> Option<Duration> {
        let Stamp::At(at) = self.last.stamp else { return None };
        let age = Duration::from_secs_f64((now.seconds() - at.seconds()).clamp(0.0, 1e9));
        is_plausible(at, now).then_some(self.left? + age)
    }

    fn is_bad(&self, now: UnixTime) -> bool {
        match self.last.stamp {
            Stamp::Absent => false,
            Stamp::Unreadable => true,
            Stamp::At(at) => !is_plausible(at, now),
        }
    }

    pub(crate) fn is_stamped(&self) -> bool {
        self.last.stamp != Stamp::Absent
    }
}

impl Traces {
    /// `now` is by the clock of the process that read them.
    pub(crate) fn judge(&self, intervals: &Intervals, now: UnixTime) -> Compliance {
        let stamped = self.traces.iter().filter(|trace| trace.is_stamped()).count();
        let bad = self.traces.iter().filter(|trace| trace.is_bad(now)).count();
        let (measured, others) = self.lifetimes(intervals, now);
        let is_most = |count: usize, of: usize| count > 0 && count * 2 > of;
        if self.traces.is_empty() {
            Compliance::NoGateways
        } else if stamped == 0 && self.contextforge {
            Compliance::No(NonComplianceReason::NoStamps)
        } else if stamped == 0 {
            Compliance::No(NonComplianceReason::NoContextForge)
        } else if is_most(bad, stamped) {
            Compliance::No(NonComplianceReason::BadStamps)
        } else if !is_most(others.len(), measured) {
            Compliance::Yes
        } else if others.iter().all(|(_, lifetime)| is_near(*lifetime, intervals.hot * 6)) {
            Compliance::No(NonComplianceReason::ColdIsThrice)
        } else {
            Compliance::No(NonComplianceReason::OtherInterval)
        }
    }

    /// The hot interval that the writers of the stamps use, where it is not ours: the median of what the lifetimes
    /// imply, to five seconds, which is as exact as it can be known. `None` if all use ours.
    pub(crate) fn interval_in_use(&self, intervals: &Intervals, now: UnixTime) -> Option<Duration> {
        let (_, others) = self.lifetimes(intervals, now);
        let implied = others.into_iter().map(|(tier, lifetime)| {
            let hot_interval = lifetime / if tier == Some(Tier::Hot) { 2 } else { 6 };
            (hot_interval + Duration::from_millis(2_500)).as_secs() / 5 * 5
        });
        let mut implied: Vec<u64> = implied.collect();
        implied.sort_unstable();
        implied.get(implied.len() / 2).copied().map(Duration::from_secs)
    }

    /// How many lifetimes are known, and those that do not follow from our intervals.
    fn lifetimes(&self, intervals: &Intervals, now: UnixTime) -> (usize, Vec<(Option<Tier>, Duration)>) {
        // A server may have been in the other tier when it was stamped.
        let ours = [intervals.hot * 2, intervals.cold * 2];
        let by_tier =
            |trace: &&Trace| trace.last.ttl.is_none() && intervals.in_force(trace.tier, trace.planned).is_none();
        let mut known: Vec<_> =
            self.traces.iter().filter(by_tier).filter_map(|trace| Some((trace.tier, trace.lifetime(now)?))).collect();
        let measured = known.len();
        known.retain(|(_, lifetime)| !ours.iter().any(|ours| is_near(*lifetime, *ours)));
        (measured, known)
    }
}

fn is_near(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= TOLERANCE.max(other / 20)
}

impl NonComplianceReason {
    /// What is wrong. No full stop at the end.
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoContextForge => "no ContextForge with CACHE_TYPE=redis uses this Redis database",
            Self::NoStamps => "ContextForge uses this Redis but stamps no poll of a registered gateway",
            Self::OtherInterval => "its polls are stamped for another interval than --hot-poll-interval",
            Self::ColdIsThrice => "its cold interval is three times the hot one, and --cold-poll-interval is not",
            Self::BadStamps => "the stamps of its polls are not times, or are in the future",
        }
    }

    /// What to do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NoContextForge => {
                "set CACHE_TYPE=redis and the REDIS_URL of the same server and database in ContextForge, or correct \
                 --redis-url"
            }
            Self::NoStamps => {
                "turn on HOT_COLD_CLASSIFICATION_ENABLED and AUTO_REFRESH_SERVERS in ContextForge, and compare \
                 spec.url and spec.gatewayId with what it stores (import prints them)"
            }
            Self::OtherInterval => "set GATEWAY_AUTO_REFRESH_INTERVAL and --hot-poll-interval to the same value",
            Self::ColdIsThrice => "leave out --cold-poll-interval",
            Self::BadStamps => {
                "correct the clocks of gateways and operator, and check which other program writes these keys"
            }
        }
    }
}

impl Compliance {
    /// What was found. No full stop at the end.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Yes => "gateways poll by what is published",
            Self::No(reason) => reason.message(),
            Self::NoGateways => "no gateway is registered",
            Self::NoStampsYet => "no poll is stamped yet",
        }
    }

    /// The same for the first samples of a leader: gateways may have had no time to poll yet.
    pub(crate) const fn at_first(self) -> Self {
        match self {
            Self::No(NonComplianceReason::NoContextForge | NonComplianceReason::NoStamps) => Self::NoStampsYet,
            other => other,
        }
    }

    /// Whether nothing can be judged yet, so that the next cycle looks again.
    pub(crate) const fn is_unknown(self) -> bool {
        matches!(self, Self::NoGateways | Self::NoStampsYet)
    }

    /// The value of the metric `obeyed`; absent while it is unknown.
    pub(crate) const fn gauge(self) -> Option<i64> {
        match self {
            Self::Yes => Some(1),
            Self::No(_) => Some(0),
            Self::NoGateways | Self::NoStampsYet => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> UnixTime {
        UnixTime::from_seconds(seconds).unwrap()
    }

    const NOW: f64 = 1e9;

    /// A stamp of `ago` seconds before now, with a lifetime of `life` seconds.
    fn stamped(tier: Option<Tier>, ago: u64, life: u64) -> Trace {
        let stamp = Stamp::At(at(NOW - Duration::from_secs(ago).as_secs_f64()));
        Trace { tier, last: stamp.into(), left: Some(Duration::from_secs(life - ago)), planned: None }
    }

    const ABSENT: Trace =
        Trace { tier: Some(Tier::Cold), last: LastPoll { stamp: Stamp::Absent, ttl: None }, left: None, planned: None };

    fn judge(contextforge: bool, traces: &[Trace]) -> Compliance {
        let traces = Traces { contextforge, traces: traces.to_vec() };
        traces.judge(&Intervals::new(Duration::from_secs(300), None), at(NOW))
    }

    #[test]
    fn stamps_with_twice_our_intervals_are_compliance() {
        let (hot, cold) = (Some(Tier::Hot), Some(Tier::Cold));
        for traces in [
            &[stamped(hot, 0, 600)][..],
            &[stamped(cold, 900, 1800), ABSENT],
            &[stamped(hot, 299, 605), stamped(cold, 5, 1790), stamped(None, 1, 1800)],
            // The server was in the other tier when it was stamped.
            &[stamped(hot, 800, 1800), stamped(cold, 100, 600)],
            // A minority of others, and a stamp without expiry.
            &[stamped(hot, 1, 600), stamped(hot, 1, 120), Trace { left: None, ..stamped(hot, 1, 1) }],
        ] {
            assert_eq!(judge(true, traces), Compliance::Yes, "{traces:?}");
            assert_eq!(judge(false, traces), Compliance::Yes, "another gateway than ContextForge: {traces:?}");
        }
    }

    #[test]
    fn stamps_under_a_refresh_plan_are_not_measured() {
        let planned =
            |tier, value: &[u8], life| Trace { planned: PlannedInterval::parse(value), ..stamped(tier, 10, life) };
        let (hot, cold) = (Some(Tier::Hot), Some(Tier::Cold));
        assert_eq!(judge(true, &[planned(cold, b"14400", 28_800)]), Compliance::Yes);
        let other = Compliance::No(NonComplianceReason::OtherInterval);
        // Only a cold server has a planned interval, and one below the hot interval does not count.
        assert_eq!(judge(true, &[planned(hot, b"14400", 1_200)]), other);
        assert_eq!(judge(true, &[planned(None, b"14400", 1_200)]), other);
        assert_eq!(judge(true, &[planned(cold, b"60", 360)]), other);
        let mixed = [planned(cold, b"14400", 28_800), planned(cold, b"3600", 7_200), stamped(None, 1, 120)];
        assert_eq!(judge(true, &mixed), other, "only the third one is measured");
    }

    #[test]
    fn the_stamp_of_a_list_with_a_ttl_is_not_measured() {
        let plain = stamped(Some(Tier::Hot), 10, 7_200);
        let listed = Trace { last: LastPoll { ttl: Some(Duration::from_secs(3_600)), ..plain.last }, ..plain };
        assert_eq!(judge(true, &[listed]), Compliance::Yes);
        assert_eq!(judge(true, &[plain]), Compliance::No(NonComplianceReason::OtherInterval));
    }

    #[test]
    fn each_misconfiguration_is_recognized() {
        let (hot, cold) = (Some(Tier::Hot), Some(Tier::Cold));
        assert_eq!(judge(false, &[ABSENT]), Compliance::No(NonComplianceReason::NoContextForge));
        assert_eq!(judge(true, &[ABSENT, ABSENT]), Compliance::No(NonComplianceReason::NoStamps));
        for (traces, theirs) in [
            (&[stamped(hot, 10, 120), stamped(cold, 100, 360)][..], 60),
            (&[stamped(cold, 100, 359)], 60),
            (&[stamped(hot, 10, 1200)], 600),
            (&[stamped(None, 10, 5400)], 900),
        ] {
            assert_eq!(judge(true, traces), Compliance::No(NonComplianceReason::OtherInterval), "{traces:?}");
            let traces = Traces { contextforge: true, traces: traces.to_vec() };
            let in_use = traces.interval_in_use(&Intervals::default(), at(NOW));
            assert_eq!(in_use, Some(Duration::from_secs(theirs)), "{traces:?}");
        }
        let bad = Trace { last: Stamp::Unreadable.into(), ..stamped(hot, 0, 600) };
        let ahead = Trace { last: Stamp::At(at(NOW + 3_600.0)).into(), ..bad };
        assert_eq!(judge(true, &[bad, ahead, stamped(hot, 0, 600)]), Compliance::No(NonComplianceReason::BadStamps));
        assert_eq!(judge(true, &[]), Compliance::NoGateways);
        let uneven = Intervals::new(Duration::from_secs(300), Some(Duration::from_secs(600)));
        let traces = Traces { contextforge: true, traces: vec![stamped(cold, 1, 1800)] };
        assert_eq!(traces.judge(&uneven, at(NOW)), Compliance::No(NonComplianceReason::ColdIsThrice));
    }

    /// Stamps vary by seconds; what is compared and shown must not.
    #[test]
    fn the_judgement_does_not_change_with_the_measured_interval() {
        let other = |life| judge(true, &[stamped(Some(Tier::Hot), 10, life)]);
        assert_eq!(other(120), other(130));
        assert_eq!(other(120), Compliance::No(NonComplianceReason::OtherInterval));
    }

    #[test]
    fn the_first_sample_does_not_blame_gateways_that_had_no_time_to_poll() {
        let no = Compliance::No;
        let yet = Compliance::NoStampsYet;
        assert_eq!(no(NonComplianceReason::NoStamps).at_first(), yet);
        assert_eq!(no(NonComplianceReason::NoContextForge).at_first(), yet);
        assert_eq!(no(NonComplianceReason::OtherInterval).at_first(), no(NonComplianceReason::OtherInterval));
        assert_eq!(Compliance::Yes.at_first(), Compliance::Yes);
        let gauges = [Compliance::Yes, no(NonComplianceReason::BadStamps), yet].map(Compliance::gauge);
        assert_eq!(gauges, [Some(1), Some(0), None]);
    }
}
