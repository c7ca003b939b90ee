//! The state of the whole fleet, as its `McpGatewayFleet` shows it. Pure; [`object`] reads and writes the object.
//!
//! In: what the leader's loop knows ([`FleetState`]). Out: a [`FleetStatus`]. The status contains no number or time
//! that moves while nothing happens, so that a calm fleet costs no writes. See `docs/contract.md#the-fleet-object`.

pub(crate) mod object;

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::VariantArray;

use crate::api::conditions::ConditionStatus::{self, False, True, Unknown};
use crate::api::conditions::{CLOCK_SKEWED, ENDPOINTS_SILENT, FleetConditionType, MOST_GATEWAYS_GONE};
use crate::api::v1alpha1::{
    EndpointsStatus, FleetStatus, GatewaysStatus, LeaderStatus, MirrorStatus, ObjectCounts, PublicationState,
    PublicationStatus, RedisLockState, RedisLockStatus, RefreshPlanStatus, RegistryLossStatus, ServerCounts,
    SilentEndpointStatus, SoleReporterStatus,
};
use crate::classify::IdentityConflict;
use crate::classify::memory::{SilentEndpoint, SoleReporter, UsageGap};
use crate::model::clocks::ClockSkew;
use crate::model::polling::{FleetPolling, PollingChange, PollingState};
use crate::model::{Problem, ServerUrl, Term, UnixTime};
use crate::plan::{BudgetFit, Plan, PlanSettings};
use crate::poll::Intervals;
use crate::poll::compliance::Compliance;
use crate::registry::loss::RegistryLoss;

/// The most silent endpoints, unregistered servers and identity conflicts that the status names.
const NAMED_IN_STATUS: usize = 20;
/// The most silent endpoints that a message names.
const NAMED_IN_MESSAGE: usize = 5;

/// What lasts of failed calls to the API server, by what they were for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// Reading the `McpGateway` objects.
    pub registry: Option<Problem>,
    /// Permissions that are not granted.
    pub permissions: Option<Problem>,
    /// Writing statuses.
    pub status_writes: Option<Problem>,
}

/// What the leader's loop knows of the fleet.
#[derive(Clone, Debug)]
pub struct FleetState<'a> {
    /// The generation of the fleet object that the loop acts on, once it has read one.
    pub generation: Option<i64>,
    /// Whether `spec.suspend` is set.
    pub suspend: bool,
    /// The identity of the leader.
    pub identity: &'a str,
    /// Since when it leads.
    pub since: UnixTime,
    /// Its term.
    pub term: Term,
    /// The objects, by whether they are registered.
    pub objects: ObjectCounts,
    /// Most of the registry has gone at once.
    pub loss: Option<RegistryLoss>,
    /// The servers, by tier.
    pub servers: ServerCounts,
    /// Why usage is too incomplete to classify, if it is.
    pub gap: Option<UsageGap>,
    /// How many endpoints are known.
    pub endpoints: usize,
    /// Those of them that are silent.
    pub silent: &'a [SilentEndpoint],
    /// The endpoint on which most hot servers hang.
    pub sole_reporter: Option<&'a SoleReporter>,
    /// Servers that workers use and no object registers.
    pub unregistered: &'a [ServerUrl],
    /// Ids and names that are registered for other servers than workers report them for.
    pub identity_conflicts: &'a [IdentityConflict],
    /// How the gateway processes poll, as they report.
    pub polling: &'a FleetPolling,
    /// The refresh plan in force, and its settings.
    pub plan: Option<(&'a Plan, PlanSettings)>,
    /// How often gateways should poll without a plan.
    pub intervals: Intervals,
    /// What gateways find in Redis.
    pub publication: PublicationStatus,
    /// Whether the publication fails until a person changes something.
    pub publication_stalled: bool,
    /// Who holds the Redis lock.
    pub redis_lock: RedisLockStatus,
    /// What Redis said last, if it fails; why this leader yields, if it does.
    pub redis_error: Option<String>,
    /// Whether gateways poll by what is published; `None` before the first check.
    pub compliance: Option<Compliance>,
    /// The clocks that differ from the reference time; `None` before the first collection.
    pub skewed: Option<&'a [ClockSkew]>,
    /// Failures that last.
    pub problems: &'a Problems,
    /// What there is to say of mirrored objects.
    pub mirror: Option<&'a MirrorStatus>,
}

/// What a condition says: status, reason and message. An absent condition is `None`.
type Verdict = (ConditionStatus, String, String);

fn verdict(status: ConditionStatus, reason: impl Into<String>, message: impl Into<String>) -> Verdict {
    (status, reason.into(), message.into())
}

impl FleetState<'_> {
    /// The status as it is written. A condition keeps the transition time of `previous` while its status stays the
    /// same.
    pub fn status(&self, previous: Option<&FleetStatus>, now: UnixTime) -> FleetStatus {
        let silent = self.silent.iter().take(NAMED_IN_STATUS).map(|silent| SilentEndpointStatus {
            endpoint: silent.endpoint.to_string(),
            reported: silent.reported,
            since: time(silent.since),
        });
        let answered = self.endpoints.saturating_sub(self.silent.len());
        let condition = |&kind: &FleetConditionType| {
            let (status, reason, message) = self.verdict(kind)?;
            let before = previous.and_then(|previous| previous.condition(kind));
            let before = before.filter(|before| before.status == status.as_ref());
            Some(Condition {
                type_: kind.to_string(),
                status: status.to_string(),
                reason,
                message: printable(&message),
                observed_generation: self.generation,
                last_transition_time: before.map_or_else(|| time(now), |before| before.last_transition_time.clone()),
            })
        };
        FleetStatus {
            gateways: self.gateways(previous.map(|previous| &previous.gateways)),
            observed_generation: self.generation,
            term: Some(self.term.get()),
            leader: Some(LeaderStatus { identity: self.identity.to_owned(), since: time(self.since) }),
            objects: self.objects,
            registry_loss: self
                .loss
                .map(|RegistryLoss { before, since }| RegistryLossStatus { before: count(before), since: time(since) }),
            servers: self.servers,
            endpoints: EndpointsStatus {
                known: count(self.endpoints),
                answered: count(answered),
                summary: format!("{answered}/{}", self.endpoints),
                silent: silent.collect(),
                sole_reporter: self.sole_reporter.map(|sole| SoleReporterStatus {
                    endpoint: sole.endpoint.to_string(),
                    hot_percent: sole.percent.into(),
                }),
            },
            publication: self.publication.clone(),
            redis_lock: RedisLockStatus {
                holder: self.redis_lock.holder.as_deref().map(printable),
                ..self.redis_lock.clone()
            },
            refresh_plan: match self.plan {
                Some((plan, settings)) => Some(self.refresh_plan(plan, settings)),
                // The predecessor's plan is kept alive with its publication.
                None if self.publication.state == PublicationState::KeptAlive => {
                    previous.and_then(|previous| previous.refresh_plan)
                }
                None => None,
            },
            mirror: self.mirror.cloned(),
            unregistered: self.unregistered.iter().take(NAMED_IN_STATUS).map(|url| url.expose().to_owned()).collect(),
            identity_conflicts: self.identity_conflicts.iter().take(NAMED_IN_STATUS).map(ToString::to_string).collect(),
            conditions: FleetConditionType::VARIANTS.iter().filter_map(condition).collect(),
        }
    }

    fn gateways(&self, previous: Option<&GatewaysStatus>) -> GatewaysStatus {
        let (obeyed, reason, _) = self.obeyed();
        let worst = |change| self.polling.states(change).max();
        let refresh_plan = worst(PollingChange::RefreshPlan);
        let by_plan = |is: fn(&PollingState) -> bool| {
            let processes = self.polling.states(PollingChange::RefreshPlan).filter(is).count();
            refresh_plan.map(|_| count(processes))
        };
        let counts = self.polling.counts;
        let before = |percent: fn(&GatewaysStatus) -> Option<i64>| previous.and_then(percent);
        GatewaysStatus {
            obeyed: (obeyed != Unknown).then_some(obeyed == True),
            reason,
            hot_at_full_rate: worst(PollingChange::HotAtFullRate),
            refresh_plan,
            refresh_plan_followed_by: by_plan(|state| *state == PollingState::Active),
            refresh_plan_not_followed_by: by_plan(|state| *state != PollingState::Active),
            calls_on_old_lists_percent: counts.calls_on_old_lists.percent(before(|it| it.calls_on_old_lists_percent)),
            cold_health: worst(PollingChange::ColdHealth),
            health_checks_skipped_percent: counts
                .health_checks_skipped
                .percent(before(|it| it.health_checks_skipped_percent)),
            unsupported: self.polling.unsupported().into_iter().take(NAMED_IN_STATUS).collect(),
        }
    }

    fn refresh_plan(&self, plan: &Plan, settings: PlanSettings) -> RefreshPlanStatus {
        let per_hour = |servers: i64, interval: Duration| {
            f64::from(u32::try_from(servers).unwrap_or(u32::MAX)) * 3600.0 / interval.as_secs_f64()
        };
        let ServerCounts { total: _, hot, cold, unclassified } = self.servers;
        let tiers = per_hour(hot + unclassified, self.intervals.hot) + per_hour(cold, self.intervals.cold);
        let least_budget_percent = match plan.fit {
            BudgetFit::Kept => None,
            BudgetFit::TooSmall { least } => Some(whole(least * 100.0, f64::ceil).clamp(1, 100)),
        };
        RefreshPlanStatus {
            hot_interval: Some(settings.interval().into()),
            longest_interval: Some(settings.longest().into()),
            polls_per_hour: two_digits(plan.polls_per_hour),
            tiers_polls_per_hour: two_digits(tiers),
            uniform_polls_per_hour: two_digits(plan.uniform_polls_per_hour),
            budget_kept: plan.fit == BudgetFit::Kept,
            least_budget_percent,
        }
    }

    fn verdict(&self, kind: FleetConditionType) -> Option<Verdict> {
        let Problems { registry, permissions, status_writes } = self.problems;
        let problem = |problem: &Option<Problem>, good: &str, message: &str| match problem {
            Some(problem) => verdict(False, problem.reason.to_string(), problem.message()),
            None => verdict(True, good, message),
        };
        match kind {
            FleetConditionType::Ready => Some(self.ready()),
            FleetConditionType::UsageComplete => Some(self.usage()),
            FleetConditionType::Published => Some(self.published()),
            FleetConditionType::Obeyed => Some(self.obeyed()),
            FleetConditionType::RegistryRead => {
                Some(problem(registry, "Read", "The McpGateway objects are listed and watched"))
            }
            FleetConditionType::RegistryStable => Some(match self.loss {
                Some(loss) => verdict(False, MOST_GATEWAYS_GONE, loss_text(loss, self.objects.registered())),
                None => verdict(True, "Stable", "Most of the registered objects have not gone within one interval"),
            }),
            FleetConditionType::Permitted => {
                Some(problem(permissions, "Permitted", "The operator has every permission that it needs"))
            }
            FleetConditionType::ClocksAgree => Some(self.clocks()),
            FleetConditionType::StatusesWritten => Some(problem(status_writes, "Written", "Status writes succeed")),
            FleetConditionType::Suspended => Some(if self.suspend {
                verdict(True, "SuspendedBySpec", "spec.suspend is true: set it to false to resume")
            } else {
                verdict(False, "NotSuspended", "spec.suspend is false")
            }),
            FleetConditionType::Stalled => self.stalled(),
        }
    }

    /// Whether the operator does what the spec asks for. What only some of the work waits for does not count.
    fn ready(&self) -> Verdict {
        let Problems { registry, status_writes, .. } = self.problems;
        if let Some(problem) = registry {
            return verdict(False, problem.reason.to_string(), problem.message());
        }
        if self.suspend {
            return if self.publication.state == PublicationState::Suspending {
                verdict(False, "Suspending", "The publication is not removed from Redis yet")
            } else {
                verdict(
                    True,
                    "Suspended",
                    "Nothing is classified or published: gateways poll every server at the full rate",
                )
            };
        }
        match (self.gap, status_writes) {
            (Some(UsageGap::Use), _) => {
                verdict(True, UsageGap::Use.reason(), "No worker has reported the use of a registered server yet")
            }
            (Some(gap), _) => verdict(False, gap.reason(), gap.hint()),
            (None, _) if self.published().0 == False => self.published(),
            (None, Some(problem)) => verdict(False, problem.reason.to_string(), problem.message()),
            (None, None) if !self.silent.is_empty() => {
                verdict(True, ENDPOINTS_SILENT, endpoints_text(self.endpoints, self.silent))
            }
            (None, None) => verdict(True, "Ready", "Servers are classified and published"),
        }
    }

    fn usage(&self) -> Verdict {
        match self.gap {
            Some(gap) => verdict(False, gap.reason(), gap.hint()),
            None if self.endpoints == 0 => {
                verdict(True, "Complete", "No server is registered, and no worker endpoint is known")
            }
            None if self.silent.is_empty() => verdict(True, "Complete", "Every worker endpoint reports"),
            None => verdict(False, ENDPOINTS_SILENT, endpoints_text(self.endpoints, self.silent)),
        }
    }

    fn published(&self) -> Verdict {
        let why = self.publication.reason.clone().unwrap_or_default();
        let message = match self.publication.state {
            PublicationState::StatusesOnly => {
                return verdict(Unknown, "NoRedis", "No Redis is configured (--redis-url)");
            }
            PublicationState::Published => return verdict(True, "Published", "Redis holds the current classification"),
            PublicationState::NotPublished => return verdict(False, why, self.refusal()),
            PublicationState::Pending => "Not published yet".to_owned(),
            PublicationState::KeptAlive => format!("An earlier classification is kept alive: {why}"),
            PublicationState::GivenUp => format!("Nothing is published any more: {why}"),
            PublicationState::Suspending => format!("The publication could not be removed yet: {why}"),
            PublicationState::Suspended => "The fleet is suspended".to_owned(),
        };
        verdict(False, format!("{:?}", self.publication.state), message)
    }

    /// Why Redis did not take the publication, and what to do.
    fn refusal(&self) -> String {
        let holder = self.redis_lock.holder.as_deref().unwrap_or("another program");
        match self.redis_lock.state {
            RedisLockState::HeldByAnother => {
                format!(
                    "{holder} holds the Redis lock: it is taken over when it publishes nothing, or stop one of the two"
                )
            }
            RedisLockState::HeldByAnotherRelease if let Some(why) = &self.redis_error => why.clone(),
            RedisLockState::HeldByAnotherRelease => format!(
                "the release {holder} holds the Redis lock: give one of them a Redis or a --redis-key-prefix of its own"
            ),
            RedisLockState::Fenced => "Redis knows a higher term: the leader checks its Lease".to_owned(),
            _ => match &self.redis_error {
                Some(error) => format!("Redis did not take the publication: {error}"),
                None => "Redis did not take the publication: see the operator's log".to_owned(),
            },
        }
    }

    fn obeyed(&self) -> Verdict {
        if self.publication.state == PublicationState::StatusesOnly {
            return verdict(Unknown, "NoRedis", "No Redis is configured (--redis-url)");
        }
        match self.compliance {
            None => verdict(Unknown, "NotCheckedYet", "The polls of the gateways have not been checked yet"),
            Some(Compliance::No(why)) => {
                verdict(False, <&str>::from(why), format!("{}: {}", why.message(), why.advice()))
            }
            Some(compliance @ Compliance::Yes) => verdict(True, <&str>::from(compliance), compliance.message()),
            Some(compliance @ (Compliance::NoGateways | Compliance::NoStampsYet)) => {
                verdict(Unknown, <&str>::from(compliance), compliance.message())
            }
        }
    }

    fn clocks(&self) -> Verdict {
        match self.skewed {
            None => verdict(Unknown, "NotCheckedYet", "The clocks have not been compared yet"),
            Some([]) => verdict(True, "ClocksAgree", "All clocks agree within 5 seconds"),
            Some(skewed) => verdict(False, CLOCK_SKEWED, clocks_text(skewed)),
        }
    }

    /// Where a person must act: set only where it is true, as kstatus expects.
    fn stalled(&self) -> Option<Verdict> {
        let Problems { registry, status_writes, permissions: _ } = self.problems;
        let lasting = [registry, status_writes].into_iter().flatten().find(|problem| problem.reason.needs_a_person());
        if let Some(problem) = lasting {
            return Some(verdict(True, problem.reason.to_string(), problem.message()));
        }
        (self.publication_stalled && !self.suspend).then(|| {
            let (_, reason, message) = self.published();
            verdict(True, reason, message)
        })
    }
}

/// How many endpoints answered, and which are silent since when.
pub fn endpoints_text(known: usize, silent: &[SilentEndpoint]) -> String {
    let mut text = format!("{} of {known} endpoints answered", known.saturating_sub(silent.len()));
    for (number, SilentEndpoint { endpoint, reported, since }) in silent.iter().take(NAMED_IN_MESSAGE).enumerate() {
        let before = if number == 0 { "; silent: " } else { ", " };
        let when = if *reported { "since" } else { "never reported, known since" };
        let _ = write!(text, "{before}{endpoint} {when} {since}");
    }
    if let Some(more @ 1..) = silent.len().checked_sub(NAMED_IN_MESSAGE) {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// How many objects have left the registry since when, and what to do. `registered`: how many are in it now.
pub fn loss_text(RegistryLoss { before, since }: RegistryLoss, registered: i64) -> String {
    let gone = count(before).saturating_sub(registered);
    format!(
        "{gone} of {before} McpGateway objects have left the registry since {since}: they were deleted, disabled or \
         refused. What is published follows. If that was a mistake, apply their manifests again: the uses of their \
         servers are remembered for a day, or for --usage-window"
    )
}

/// Which clocks differ from the reference time, and what to do.
pub fn clocks_text(skewed: &[ClockSkew]) -> String {
    let mut named: Vec<String> = skewed.iter().take(NAMED_IN_MESSAGE).map(ToString::to_string).collect();
    if let Some(more @ 1..) = skewed.len().checked_sub(NAMED_IN_MESSAGE) {
        named.push(format!("{more} more"));
    }
    format!("These clocks differ from the majority; set them with NTP: {}", named.join(", "))
}

/// One printable line: other programs choose what their lock contains.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect()
}

/// A figure rounded to two significant digits.
fn two_digits(figure: f64) -> i64 {
    let step = 10_f64.powf((figure.max(1.0).log10().floor() - 1.0).max(0.0));
    whole(figure / step, f64::round) * whole(step, f64::round)
}

#[expect(clippy::cast_possible_truncation, reason = "a cast to an integer saturates")]
fn whole(figure: f64, rounded: fn(f64) -> f64) -> i64 {
    rounded(figure) as i64
}

pub(crate) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As Kubernetes stores it: whole seconds, because anything finer would differ after it was read back.
pub fn time(time: UnixTime) -> Time {
    Time(jiff::Timestamp::from_second(time.whole_seconds()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
