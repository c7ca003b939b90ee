//! What is known of one endpoint, and when its silence means what. Pure. SPEC section 2, *What is missing*.

use std::collections::HashMap;

use super::{MemorySettings, SilentEndpoint};
use crate::classify::{ProcessReport, Report, Said};
use crate::model::{EndpointId, Monotonic, UnixTime, WorkerId};

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    known_since: (Monotonic, UnixTime),
    /// When it last said something that was complete.
    last_complete: Option<(Monotonic, UnixTime)>,
    /// Whether what it said last was complete.
    complete: bool,
    /// Whether the latest collection brought something complete.
    current: bool,
    processes: Vec<ProcessReport>,
}

impl Endpoint {
    pub const fn met(now: Monotonic, wall: UnixTime) -> Self {
        let known_since = (now, wall);
        Self { known_since, last_complete: None, complete: false, current: false, processes: Vec::new() }
    }

    /// Takes in what it said now.
    pub fn hear(&mut self, said: Said, now: Monotonic, wall: UnixTime) {
        match said {
            Said::Report(report) => self.take(report),
            Said::Unchanged(advanced) => {
                for process in &mut self.processes {
                    process.observed_at = process.observed_at.after(advanced);
                }
            }
            Said::Nothing => {
                self.current = false;
                return;
            }
        }
        self.current = self.complete;
        if self.complete {
            self.last_complete = Some((now, wall));
        }
    }

    /// A complete report replaces all that was known: a former process without an entry has ended. A partial one only
    /// adds, for those that it leaves out may live, and an older view of a process takes the place of no newer one.
    fn take(&mut self, report: Report) {
        let Report { complete, processes } = report;
        self.complete = complete;
        if complete {
            self.processes = processes;
            return;
        }
        for new in processes {
            match self.processes.iter_mut().find(|old| old.id == new.id) {
                Some(old) if old.observed_at > new.observed_at => {}
                Some(old) => *old = new,
                None => self.processes.push(new),
            }
        }
    }

    /// The processes that it spoke for, as they were seen last.
    pub fn processes(&self) -> impl Iterator<Item = &ProcessReport> {
        self.processes.iter()
    }

    /// Whether it was ever heard in full.
    pub const fn was_heard(&self) -> bool {
        self.last_complete.is_some()
    }

    /// Since when it is silent; `None` if it is not.
    fn silent_since(&self, now: Monotonic, settings: &MemorySettings) -> Option<Monotonic> {
        match self.last_complete {
            None => Some(self.known_since.0),
            Some((heard, _)) if now.since(heard) > settings.patience() => Some(heard.after(settings.patience())),
            Some(_) => None,
        }
    }

    /// The same in the words of the view.
    pub fn silent(&self, id: &EndpointId, now: Monotonic, settings: &MemorySettings) -> Option<SilentEndpoint> {
        self.silent_since(now, settings)?;
        let (_, since) = self.last_complete.unwrap_or(self.known_since);
        Some(SilentEndpoint { endpoint: id.clone(), heard: self.was_heard(), since })
    }

    /// Whether it has been silent for so long that its last report counts no more.
    pub fn given_up(&self, now: Monotonic, settings: &MemorySettings) -> bool {
        let silent = self.silent_since(now, settings);
        self.was_heard() && silent.is_some_and(|since| now.since(since) > settings.hold())
    }

    /// Whether what its last report names must not be demoted: from the first report that is missed until it has been
    /// silent for three intervals.
    pub fn holds(&self, now: Monotonic, settings: &MemorySettings) -> bool {
        let silent = self.silent_since(now, settings);
        let current = self.current && silent.is_none();
        !current && silent.is_none_or(|since| now.since(since) <= settings.hold())
    }

    /// Lets go of rows that no longer say anything: they may be many.
    pub fn drop_what_counts_no_more(&mut self, now: Monotonic, settings: &MemorySettings) {
        if self.given_up(now, settings) {
            self.processes = Vec::new();
        }
    }
}

/// What was said last of a process: through the endpoint that names it now, or, if it has moved, through another one.
pub(super) fn find<'a>(
    endpoints: &'a HashMap<EndpointId, Endpoint>,
    through: &EndpointId,
    id: &WorkerId,
) -> Option<&'a ProcessReport> {
    let its = |endpoint: &'a Endpoint| endpoint.processes().find(|process| process.id == *id);
    endpoints.get(through).and_then(its).or_else(|| endpoints.values().find_map(its))
}
