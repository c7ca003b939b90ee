//! Whether gateways obey, asked of Redis every ten cycles. IO, part of [`Reign`].
//!
//! In: the registry. Out: one fact and one metric. One round trip for at the most [`compliance::MOST`] gateways, after the cycle; the
//! judgement is [`obeyed`]'s, which `doctor` shares. A look that fails changes nothing: that Redis is away is another fact.

use tracing::{debug, info, warn};

use super::reign::Reign;
use crate::clock;
use crate::poll::compliance::{self, Compliance};

/// Between two looks.
const CYCLES: u32 = 10;

/// What a leader knows of it.
#[derive(Debug, Default)]
pub(super) struct Obedience {
    /// Cycles until the next look.
    cycles: u32,
    /// What the last one found; `None` before the first.
    last: Option<Compliance>,
}

impl Reign<'_> {
    /// A cycle has ended.
    pub(super) async fn look_whether_obeyed(&mut self) {
        let Some(redis) = &self.controller.outputs.redis else { return };
        // What is not published cannot be obeyed; a Redis that is away is not waited for once more.
        if !matches!(self.publication, Some(Ok(_))) {
            return;
        }
        if self.obedience.cycles > 0 {
            self.obedience.cycles -= 1;
            return;
        }
        let Some(snapshot) = self.controller.inputs.registry.borrow().clone() else { return };
        let polls: Vec<_> = compliance::sample(&snapshot).into_iter().map(|(_, poll)| poll).collect();
        let traces = match redis.store.traces(&polls).await {
            Ok(traces) => traces,
            Err(error) => return debug!(reason = error.reason(), "looking whether gateways obey failed"),
        };
        let found = traces.judge(&self.controller.settings.polls, clock::now());
        let found = if self.obedience.last.is_none() { found.at_first() } else { found };
        self.obedience.cycles = CYCLES - 1;
        self.controller.metrics.obeyed(found.gauge());
        let words = match found {
            Compliance::Yes => "yes".to_owned(),
            Compliance::No(because) => format!("no, because {}: {}", because.message(), because.advice()),
            Compliance::Unknown(_) => format!("unknown: {}", found.message()),
        };
        if self.obedience.last != Some(found) {
            match found {
                Compliance::Yes => info!("gateways poll by what is published"),
                Compliance::No(because) => {
                    let (reason, advice) = (because.reason(), because.advice());
                    warn!(reason, "gateways do not poll by what is published: {}: {advice}", because.message());
                }
                Compliance::Unknown(_) => {
                    info!(reason = found.reason(), "it is unknown whether gateways poll by what is published");
                }
            }
        }
        self.obedience.last = Some(found);
        self.facts.obeyed(&words);
        self.controller.outputs.fleet.write(&self.token, self.facts.clone()).await;
    }
}
