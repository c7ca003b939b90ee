//! The first uses of servers after more than their planned intervals: their lists are to be refreshed at once
//! (`docs/refresh-plan.md#the-rule`). Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::classify::{PerServer, RankingInput};
use crate::model::{PlannedInterval, UnixTime};
use crate::plan::Plan;

/// The uses after which a refresh is due whatever the plan is. Usually, a server that is used again after more than its
/// planned interval becomes hot and is due for that reason. It stays cold if more servers were used in the same
/// interval than may be hot.
#[derive(Debug)]
pub(super) struct FirstUses {
    /// The last use of each server when it was last planned.
    last_used: PerServer<Option<UnixTime>>,
    /// The latest use of each server that came more than its planned interval after the one before.
    moments: PerServer<Option<UnixTime>>,
}

impl FirstUses {
    /// `last_used`: what a new leader knows.
    pub(super) fn new(last_used: PerServer<Option<UnixTime>>) -> Self {
        Self { last_used, moments: PerServer::default() }
    }

    /// Adds the uses that are known now. `plan`: the previous plan, by which the servers are refreshed. A use that is
    /// longer ago than the planned interval needs no refresh: the server was refreshed since, or is due anyway.
    pub(super) fn follow(&mut self, fleet: &PerServer<RankingInput>, plan: &Plan, now: UnixTime) {
        let servers = fleet.servers();
        // Both change together.
        if !Arc::ptr_eq(self.moments.servers(), servers) {
            self.last_used = self.last_used.on(servers).into_owned();
            self.moments = self.moments.on(servers).into_owned();
        }
        let plan = plan.servers().on(servers);
        let known = self.last_used.values_mut().iter_mut().zip(self.moments.values_mut());
        for ((input, planned), (last_used, moment)) in fleet.values().iter().zip(plan.values()).zip(known) {
            let before = std::mem::replace(last_used, input.usage.last_used);
            let (Some(planned), Some(used)) = (planned, *last_used) else { continue };
            let is_first = before.is_none_or(|before| used.since(before) > planned.interval());
            if is_first && now.since(used) <= planned.interval() {
                *moment = Some(used);
            }
        }
    }

    /// Adds the moments to the intervals of these servers, as far as they are longer than `hot`: a refresh before its
    /// moment does not count.
    pub(super) fn add_to(&self, intervals: &mut PerServer<Option<PlannedInterval>>, hot: Duration) {
        let moments = self.moments.on(intervals.servers());
        for (interval, moment) in intervals.values_mut().iter_mut().zip(moments.values()) {
            let longer = interval.filter(|planned| planned.interval() > hot);
            *interval = longer.zip(*moment).map(|(planned, moment)| planned.due_if_polled_before(moment)).or(*interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::ServerUsage;
    use crate::model::{ServerUrl, Tier};
    use crate::plan::{self, PlanInput, PlanSettings};

    fn at(seconds: f64) -> UnixTime {
        UnixTime::from_seconds(1e9 + seconds).unwrap()
    }

    /// Three servers with these last uses.
    fn fleet(uses: [Option<f64>; 3]) -> PerServer<RankingInput> {
        let url = |name: &str| ServerUrl::parse(&format!("http://{name}.example/mcp")).unwrap();
        let mut fleet: PerServer<RankingInput> = PerServer::of(&["a", "b", "c"].map(url).into());
        for (input, used) in fleet.values_mut().iter_mut().zip(uses) {
            input.usage = ServerUsage { last_used: used.map(at), ..ServerUsage::default() };
        }
        fleet
    }

    /// A plan that has the first one at five minutes, and the others at about four hours.
    fn planned() -> Plan {
        let mut inputs: PerServer<PlanInput> = PerServer::of(fleet([None; 3]).servers());
        for (input, tier) in inputs.values_mut().iter_mut().zip([Tier::Hot, Tier::Cold, Tier::Cold]) {
            *input = PlanInput { tier: Some(tier), idle: Duration::from_hours(10_000), ..PlanInput::default() };
        }
        plan::plan(&inputs, &Plan::default(), &PlanSettings::default())
    }

    #[test]
    fn a_use_after_more_than_the_planned_interval_asks_for_a_refresh() {
        let mut uses = FirstUses::new(fleet([Some(0.0), Some(0.0), None]).map(|input| input.usage.last_used));
        let moments = |uses: &FirstUses| uses.moments.values().iter().flatten().copied().collect::<Vec<_>>();
        uses.follow(&fleet([Some(0.0), Some(0.0), None]), &planned(), at(0.0));
        assert_eq!(moments(&uses), []);
        // The first two are used again within their intervals, and the third for the first time.
        uses.follow(&fleet([Some(299.0), Some(10_000.0), Some(10_000.0)]), &planned(), at(10_000.0));
        assert_eq!(uses.moments.values(), [None, None, Some(at(10_000.0))]);
        uses.follow(&fleet([Some(29_800.0), Some(30_000.0), Some(10_000.0)]), &planned(), at(30_000.0));
        assert_eq!(uses.moments.values(), [29_800.0, 30_000.0, 10_000.0].map(|used| Some(at(used))));
        // A use that becomes known late.
        uses.follow(&fleet([Some(30_200.0), Some(30_000.0), Some(60_000.0)]), &planned(), at(90_000.0));
        assert_eq!(uses.moments.values(), [29_800.0, 30_000.0, 10_000.0].map(|used| Some(at(used))));
        // What was not planned has no interval that a use could come after.
        let mut uses = FirstUses::new(PerServer::default());
        uses.follow(&fleet([Some(0.0); 3]), &Plan::default(), at(0.0));
        assert_eq!(moments(&uses), []);
    }
}
