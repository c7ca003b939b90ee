//! Whether gateways obey what is published: told from the stamps that they leave of their polls. Pure.
//!
//! In: what stands in Redis for some gateways ([`Traces`]). Out: [`Compliance`], with words that stand still while nothing changes. The
//! leader looks every ten cycles, `doctor` when it is asked; both judge here.
//!
//! A stamp lives for twice the interval of its server's tier (SPEC section 4), so one that is there is fresh, and its age and what is
//! left of its life together are twice the interval of whoever wrote it. Release 1.0.7 writes them with its
//! `GATEWAY_AUTO_REFRESH_INTERVAL` for hot servers and three times that for all others, and only if `HOT_COLD_CLASSIFICATION_ENABLED` and
//! `AUTO_REFRESH_SERVERS` are on; its health check holds `gateway_service_leader` wherever `CACHE_TYPE=redis`.

use std::time::Duration;

use super::{Intervals, Poll, Stamp};
use crate::model::{ObjectName, Tier, UnixTime};
use crate::publish::keys::PollType;
use crate::registry::{Gateway, Registration, RegistrySnapshot};

/// The key of ContextForge's election, whatever prefix ours have.
pub const SERVICE_LEADER: &str = "gateway_service_leader";

/// The most gateways that are looked at.
pub const MOST: usize = 64;

/// A stamp's life may differ by this: clocks, the way to Redis, whole seconds.
const TOLERANCE: Duration = Duration::from_secs(10);

/// The polls that are looked at, with the objects that they are of: those of hot gateways first, which are the most frequent.
#[must_use]
pub fn sample(registry: &RegistrySnapshot) -> Vec<(ObjectName, Poll)> {
    let hot = |gateway: &&Gateway| gateway.record.status.tier == Some(Tier::Hot);
    let (hot, others) = (registry.gateways().iter().filter(hot), registry.gateways().iter().filter(|g| !hot(g)));
    let polls = hot.chain(others).filter_map(|gateway| match &gateway.registration {
        Registration::Registered { url, .. } => {
            let gateway_id = gateway.record.gateway_id().cloned();
            let poll = Poll { url: url.clone(), gateway: gateway_id, kind: PollType::ToolDiscovery };
            Some((gateway.record.name.clone(), poll))
        }
        Registration::Disabled | Registration::Refused(_) => None,
    });
    polls.take(MOST).collect()
}

/// What stands in Redis for one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The set that its server is in.
    pub tier: Option<Tier>,
    /// Of its last tool discovery.
    pub stamp: Stamp,
    /// How long the stamp is still kept; `None` if for ever, or if there is none.
    pub left: Option<Duration>,
}

/// What stands in Redis for some gateways, and beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether there is a [`SERVICE_LEADER`].
    pub service_leader: bool,
    /// At the most [`MOST`], in the order asked.
    pub traces: Vec<Trace>,
}

/// Whether what is published has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compliance {
    /// Polls are spaced by it.
    Yes,
    /// They are not.
    No(NonComplianceReason),
    /// It cannot be told.
    Unknown(&'static str),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonComplianceReason {
    /// Nobody there uses this Redis.
    NoContextForge,
    /// Somebody does, and stamps nothing that we know.
    NoStamps,
    /// Stamps that live for another time.
    OtherInterval {
        /// The interval of a hot server, as the writer has it, in whole seconds.
        theirs: Duration,
    },
    /// Those of hot servers live as long as ours would; those of the others three times as long, and not as long as ours.
    ColdIsThrice,
    /// Values that are no times, or far ahead.
    BadStamps,
}

impl Trace {
    /// For how long its writer meant to keep it.
    fn life(&self, now: UnixTime) -> Option<Duration> {
        let Stamp::At(at) = self.stamp else { return None };
        Some(self.left? + Duration::from_secs_f64((now.seconds() - at.seconds()).clamp(0.0, 1e9)))
    }

    fn is_bad(&self, now: UnixTime) -> bool {
        match self.stamp {
            Stamp::Absent => false,
            Stamp::Unreadable => true,
            Stamp::At(at) => at.seconds() <= 0.0 || at.seconds() > now.seconds() + 60.0,
        }
    }

    /// Whether somebody has polled it.
    #[must_use]
    pub fn is_stamped(&self) -> bool {
        self.stamp != Stamp::Absent
    }
}

impl Traces {
    /// The judgement. `now`: by the clock of whoever looks.
    #[must_use]
    pub fn judge(&self, intervals: &Intervals, now: UnixTime) -> Compliance {
        if self.traces.is_empty() {
            return Compliance::Unknown("no gateway is registered");
        }
        let stamped: Vec<&Trace> = self.traces.iter().filter(|trace| trace.is_stamped()).collect();
        if stamped.is_empty() {
            return Compliance::No(if self.service_leader {
                NonComplianceReason::NoStamps
            } else {
                NonComplianceReason::NoContextForge
            });
        }
        let most = |count: usize, of: usize| count > 0 && count * 2 > of;
        if most(stamped.iter().filter(|trace| trace.is_bad(now)).count(), stamped.len()) {
            return Compliance::No(NonComplianceReason::BadStamps);
        }
        let measured: Vec<(Option<Tier>, Duration)> =
            stamped.iter().filter(|t| !t.is_bad(now)).filter_map(|t| Some((t.tier, t.life(now)?))).collect();
        // A server may have been in the other tier when it was stamped.
        let ours = [intervals.hot * 2, intervals.cold * 2];
        let others: Vec<_> = measured.iter().filter(|(_, life)| !ours.iter().any(|ours| near(*life, *ours))).collect();
        if !most(others.len(), measured.len()) {
            return Compliance::Yes;
        }
        if others.iter().all(|(_, life)| near(*life, intervals.hot * 6)) {
            return Compliance::No(NonComplianceReason::ColdIsThrice);
        }
        let mut guesses: Vec<u64> = others.iter().map(|(tier, life)| guess(*tier, *life)).collect();
        guesses.sort_unstable();
        let theirs = Duration::from_secs(guesses[guesses.len() / 2]);
        Compliance::No(NonComplianceReason::OtherInterval { theirs })
    }
}

fn near(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= TOLERANCE.max(other / 20)
}

/// The hot interval by which a stamp of this tier would live so long, in whole seconds.
fn guess(tier: Option<Tier>, life: Duration) -> u64 {
    let intervals = if tier == Some(Tier::Hot) { 2 } else { 6 };
    // To five seconds, which is as exact as it can be known.
    (life / intervals + Duration::from_millis(2_500)).as_secs() / 5 * 5
}

impl NonComplianceReason {
    /// A stable word.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoContextForge => "NoContextForge",
            Self::NoStamps => "NoStamps",
            Self::OtherInterval { .. } => "OtherInterval",
            Self::ColdIsThrice => "ColdIsThrice",
            Self::BadStamps => "BadStamps",
        }
    }

    /// What is so.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::NoContextForge => "no ContextForge with CACHE_TYPE=redis uses this Redis database",
            Self::NoStamps => "ContextForge uses this Redis and stamps no poll of a registered gateway",
            Self::OtherInterval { .. } => "its polls are stamped for another interval than --hot-poll-interval",
            Self::ColdIsThrice => "its cold interval is three times the hot one, and --cold-poll-interval is not",
            Self::BadStamps => "its polls are stamped with what is no time of now",
        }
    }

    /// What to do.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoContextForge => {
                "set CACHE_TYPE=redis and the REDIS_URL of the same server and database in ContextForge, or correct --redis-url"
            }
            Self::NoStamps => {
                "switch on HOT_COLD_CLASSIFICATION_ENABLED and AUTO_REFRESH_SERVERS in ContextForge, and compare spec.url and spec.gatewayId with what it stores (import prints them)"
            }
            Self::OtherInterval { .. } => "give GATEWAY_AUTO_REFRESH_INTERVAL and --hot-poll-interval one value",
            Self::ColdIsThrice => "leave --cold-poll-interval out",
            Self::BadStamps => "set the clocks of gateways and operator right, and see who else writes these keys",
        }
    }
}

impl Compliance {
    /// As a fact of the fleet: `yes`, or `no, because …`, or `unknown: …`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Yes => "yes".to_owned(),
            Self::No(because) => format!("no, because {}: {}", because.what(), because.advice()),
            Self::Unknown(why) => format!("unknown: {why}"),
        }
    }

    /// At the first look of a leader gateways may have had no time yet to poll anything.
    #[must_use]
    pub const fn at_first(self) -> Self {
        match self {
            Self::No(NonComplianceReason::NoContextForge | NonComplianceReason::NoStamps) => {
                Self::Unknown("no poll is stamped yet")
            }
            other => other,
        }
    }

    /// The value of the metric; `None` if it cannot be told.
    #[must_use]
    pub const fn gauge(&self) -> Option<i64> {
        match self {
            Self::Yes => Some(1),
            Self::No(_) => Some(0),
            Self::Unknown(_) => None,
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

    /// A stamp of so long ago, written for so long.
    fn stamped(tier: Option<Tier>, ago: u64, life: u64) -> Trace {
        let stamp = Stamp::At(at(NOW - Duration::from_secs(ago).as_secs_f64()));
        Trace { tier, stamp, left: Some(Duration::from_secs(life - ago)) }
    }

    const ABSENT: Trace = Trace { tier: Some(Tier::Cold), stamp: Stamp::Absent, left: None };

    fn judge(service_leader: bool, traces: &[Trace]) -> Compliance {
        let traces = Traces { service_leader, traces: traces.to_vec() };
        traces.judge(&Intervals::new(Duration::from_secs(300), None), at(NOW))
    }

    #[test]
    fn stamps_that_live_for_twice_our_intervals_are_obedience() {
        let (hot, cold) = (Some(Tier::Hot), Some(Tier::Cold));
        for traces in [
            &[stamped(hot, 0, 600)][..],
            &[stamped(cold, 900, 1800), ABSENT],
            &[stamped(hot, 299, 605), stamped(cold, 5, 1790), stamped(None, 1, 1800)],
            // In the other tier when it was stamped.
            &[stamped(hot, 800, 1800), stamped(cold, 100, 600)],
            // A minority of others, and a stamp that is kept for ever.
            &[stamped(hot, 1, 600), stamped(hot, 1, 120), Trace { left: None, ..stamped(hot, 1, 1) }],
        ] {
            assert_eq!(judge(true, traces), Compliance::Yes, "{traces:?}");
            assert_eq!(judge(false, traces), Compliance::Yes, "another gateway than ContextForge: {traces:?}");
        }
    }

    #[test]
    fn each_wrong_set_up_has_its_sign() {
        let (hot, cold) = (Some(Tier::Hot), Some(Tier::Cold));
        assert_eq!(judge(false, &[ABSENT]), Compliance::No(NonComplianceReason::NoContextForge));
        assert_eq!(judge(true, &[ABSENT, ABSENT]), Compliance::No(NonComplianceReason::NoStamps));
        for (traces, theirs) in [
            (&[stamped(hot, 10, 120), stamped(cold, 100, 360)][..], 60),
            (&[stamped(cold, 100, 359)], 60),
            (&[stamped(hot, 10, 1200)], 600),
            (&[stamped(None, 10, 5400)], 900),
        ] {
            let theirs = Duration::from_secs(theirs);
            assert_eq!(
                judge(true, traces),
                Compliance::No(NonComplianceReason::OtherInterval { theirs }),
                "{traces:?}"
            );
        }
        let bad = Trace { stamp: Stamp::Unreadable, ..stamped(hot, 0, 600) };
        let ahead = Trace { stamp: Stamp::At(at(NOW + 3_600.0)), ..bad };
        assert_eq!(judge(true, &[bad, ahead, stamped(hot, 0, 600)]), Compliance::No(NonComplianceReason::BadStamps));
        assert!(matches!(judge(true, &[]), Compliance::Unknown(_)));
        let uneven = Intervals::new(Duration::from_secs(300), Some(Duration::from_secs(600)));
        let traces = Traces { service_leader: true, traces: vec![stamped(cold, 1, 1800)] };
        assert_eq!(traces.judge(&uneven, at(NOW)), Compliance::No(NonComplianceReason::ColdIsThrice));
    }

    #[test]
    fn the_words_stand_still_and_say_what_to_do() {
        let because =
            |seconds| Compliance::No(NonComplianceReason::OtherInterval { theirs: Duration::from_secs(seconds) });
        assert_eq!(because(60).words(), because(65).words());
        assert!(because(60).words().starts_with("no, because ") && because(60).words().contains("GATEWAY_AUTO"));
        assert_eq!(Compliance::No(NonComplianceReason::NoStamps).at_first().gauge(), None);
        assert_eq!(because(60).at_first().gauge(), Some(0));
        assert_eq!((Compliance::Yes.words().as_str(), Compliance::Yes.gauge()), ("yes", Some(1)));
    }
}
