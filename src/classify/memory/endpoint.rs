//! What is known of one endpoint, and what its silence means (`docs/contract.md#when-usage-is-incomplete`). Pure.

use std::collections::HashMap;

use super::{MemorySettings, SilentEndpoint};
use crate::classify::{Answer, ProcessReport, Report};
use crate::model::{EndpointId, Monotonic, UnixTime, WorkerId};

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    known_since: (Monotonic, UnixTime),
    /// When it last reported completely.
    last_complete: Option<(Monotonic, UnixTime)>,
    /// Whether its last report was complete.
    complete: bool,
    /// Whether the latest collection has brought a complete report.
    current: bool,
    /// The last reports of its processes.
    pub processes: Vec<ProcessReport>,
}

impl Endpoint {
    /// An endpoint that has just become known.
    pub const fn new(now: Monotonic, time: UnixTime) -> Self {
        let known_since = (now, time);
        Self { known_since, last_complete: None, complete: false, current: false, processes: Vec::new() }
    }

    /// Takes in its answer in the latest collection.
    pub fn absorb(&mut self, answer: Answer, now: Monotonic, time: UnixTime) {
        match answer {
            Answer::Report(report) => self.absorb_report(report),
            Answer::Unchanged(advanced) => {
                for process in &mut self.processes {
                    process.observed_at = process.observed_at.after(advanced);
                }
            }
            Answer::NoReport => {
                self.current = false;
                return;
            }
        }
        self.current = self.complete;
        if self.complete {
            self.last_complete = Some((now, time));
        }
    }

    /// A complete report replaces everything: a former process without an entry has ended. A partial one only adds,
    /// because the processes that it leaves out may live; an older report of a process replaces no newer one.
    fn absorb_report(&mut self, report: Report) {
        let Report { complete, offset: _, processes } = report;
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

    /// Whether the latest collection has brought a complete report.
    pub const fn is_current(&self) -> bool {
        self.current
    }

    /// Whether it has ever reported completely.
    pub const fn has_reported(&self) -> bool {
        self.last_complete.is_some()
    }

    /// Since when it is silent; `None` if it is not.
    fn silent_since(&self, now: Monotonic, settings: &MemorySettings) -> Option<Monotonic> {
        match self.last_complete {
            None => Some(self.known_since.0),
            Some((last, _)) if now.since(last) > settings.patience() => Some(last.after(settings.patience())),
            Some(_) => None,
        }
    }

    /// The same for the view.
    pub fn silent(&self, id: &EndpointId, now: Monotonic, settings: &MemorySettings) -> Option<SilentEndpoint> {
        self.silent_since(now, settings)?;
        let (_, since) = self.last_complete.unwrap_or(self.known_since);
        Some(SilentEndpoint { endpoint: id.clone(), reported: self.has_reported(), since })
    }

    /// Whether it has been silent for so long that its last report does not count any more.
    pub fn given_up(&self, now: Monotonic, settings: &MemorySettings) -> bool {
        let silent = self.silent_since(now, settings);
        self.has_reported() && silent.is_some_and(|since| now.since(since) > settings.hold())
    }

    /// The last reports of its processes, while they count.
    pub fn counted(&self, now: Monotonic, settings: &MemorySettings) -> &[ProcessReport] {
        if self.given_up(now, settings) { &[] } else { &self.processes }
    }

    /// Whether the servers in its last report must not be demoted: from the first missed report until it has been
    /// silent for three intervals.
    pub fn holds(&self, now: Monotonic, settings: &MemorySettings) -> bool {
        let silent = self.silent_since(now, settings);
        let current = self.current && silent.is_none();
        !current && silent.is_none_or(|since| now.since(since) <= settings.hold())
    }

    /// Frees the rows that do not count any more: there may be many.
    pub fn drop_given_up(&mut self, now: Monotonic, settings: &MemorySettings) {
        if self.given_up(now, settings) {
            self.processes = Vec::new();
        }
    }
}

/// The last report of a process: by the endpoint that reports it now or, if the process has moved, by another one.
pub(super) fn find<'a>(
    endpoints: &'a HashMap<EndpointId, Endpoint>,
    current: &EndpointId,
    id: &WorkerId,
) -> Option<&'a ProcessReport> {
    let of = |endpoint: &'a Endpoint| endpoint.processes.iter().find(|process| process.id == *id);
    endpoints.get(current).and_then(of).or_else(|| endpoints.values().find_map(of))
}
