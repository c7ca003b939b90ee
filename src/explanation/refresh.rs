//! The planned refresh interval of a server, and why it has this one (`docs/refresh-plan.md`). Pure.

use serde::Serialize;

use super::Observations;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::RefreshPlanStatus;
use crate::plan::{self, Budget, PlanSettings};
use crate::registry::GatewayRecord;

/// How often a server is refreshed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedRefresh {
    /// The planned interval, in whole seconds.
    pub interval_seconds: u64,
    /// Its place among the intervals of the plan; `None` if the fleet object does not have the settings of the plan.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// How long it has not been used, in whole seconds: since its last use, or since observation of it began.
    pub idle_seconds: Option<u64>,
    pub reason: RefreshReason,
}

/// A rung of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// How many times the hot interval is doubled.
    pub rung: u8,
    /// The rung of the longest interval.
    pub last_rung: u8,
}

/// Why a server has its planned interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
pub enum RefreshReason {
    Hot,
    Held,
    /// It is the longest interval that an object allows (`spec.polling.maxInterval`).
    Bounded,
    /// There is no plan: an object asked for a refresh.
    ColdTier,
    /// Every cold server has its longest interval.
    BudgetTooSmall,
    LongestInterval,
    LastUse,
    NeverUsed,
}

impl RefreshReason {
    /// No full stop at the end.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Hot => "hot servers have the shortest interval",
            Self::Held => "it is hot while the endpoint that reported its use is silent",
            Self::Bounded => "it is the longest that spec.polling.maxInterval allows",
            Self::ColdTier => "the interval of cold servers, because there is no refresh plan",
            Self::BudgetTooSmall => "the budget does not suffice, so every cold server has its longest interval",
            Self::LongestInterval => "it has been idle for a long time, and this is the longest interval",
            Self::LastUse => "by the time since its last use, as the budget allows",
            Self::NeverUsed => "by the time for which it has not been used at all, as the budget allows",
        }
    }
}

/// What is planned for a server, by the status of one of its objects; `None` if that has no interval.
pub(super) fn planned(record: &GatewayRecord, reason: Reason, observations: &Observations) -> Option<PlannedRefresh> {
    let interval = record.status.interval().filter(|_| record.status_is_current())?;
    let plan = observations.status().and_then(|status| status.refresh_plan);
    let place = plan.as_ref().and_then(settings).map(|settings| Place {
        rung: settings.rung(interval).doublings(),
        last_rung: settings.rung(settings.longest()).doublings(),
    });
    let last_use = record.remembered_use();
    let idle_since = last_use.or_else(|| record.tier_since());
    let why = match reason {
        Reason::AboveCut | Reason::Pinned => RefreshReason::Hot,
        Reason::Held => RefreshReason::Held,
        // Intervals are up to a tenth shorter than their rung or bound.
        _ if record.max_interval().is_some_and(|bound| interval >= bound.mul_f64(0.9)) => RefreshReason::Bounded,
        _ if observations.status().is_some_and(|status| status.refresh_plan.is_none()) => RefreshReason::ColdTier,
        _ if plan.is_some_and(|plan| !plan.budget_kept) => RefreshReason::BudgetTooSmall,
        _ if place.is_some_and(|place| place.rung >= place.last_rung) => RefreshReason::LongestInterval,
        _ if last_use.is_some() => RefreshReason::LastUse,
        _ => RefreshReason::NeverUsed,
    };
    Some(PlannedRefresh {
        interval_seconds: interval.as_secs(),
        place,
        idle_seconds: idle_since.map(|since| plan::idle(last_use, since, observations.now).as_secs()),
        reason: why,
    })
}

/// The settings of the plan that decide the rungs.
fn settings(plan: &RefreshPlanStatus) -> Option<PlanSettings> {
    Some(PlanSettings::new(plan.hot_interval?.into(), plan.longest_interval?.into(), Budget::default()))
}
