//! What is said of endpoints in the log: a line when something changes, not one for every request. Pure but for the
//! log.
//!
//! A thousand endpoints that fail for one reason make one line, with their number and one of them as an example: a cause
//! is said at most once in a collection, so at most once a second.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::fault::RequestError;
use super::report::BadRow;
use super::request::Fetched;
use crate::model::EndpointId;

/// How an endpoint answered last; the default is as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    fault: Option<Fault>,
    /// Why rows were left out.
    skipped: Vec<BadRow>,
    /// Whether its last report was partial, for when that still holds.
    partial: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Partial,
    Failed { reason: &'static str, status: Option<u16> },
}

impl Fault {
    const fn outcome(self) -> &'static str {
        match self {
            Self::Partial => "Partial",
            Self::Failed { reason, .. } => reason,
        }
    }
}

impl Standing {
    /// Of what a request brought. A failed one says nothing of rows: what was known of them stands, so that it is not
    /// said again when the endpoint is back.
    pub fn of(outcome: &Result<Fetched, RequestError>, before: &Self) -> Self {
        match outcome {
            Ok(Fetched::Report(parsed, _)) => Self {
                fault: (!parsed.report.complete).then_some(Fault::Partial),
                skipped: parsed.skipped.iter().map(|(reason, _)| reason).collect(),
                partial: !parsed.report.complete,
            },
            Ok(Fetched::Unchanged) => Self { fault: before.partial.then_some(Fault::Partial), ..before.clone() },
            Err(error) => {
                let fault = Fault::Failed { reason: error.reason(), status: error.status() };
                Self { fault: Some(fault), ..before.clone() }
            }
        }
    }

    /// The label of `worker_reports_total`.
    pub fn outcome(&self, outcome: &Result<Fetched, RequestError>) -> &'static str {
        match (self.fault, outcome) {
            (None, Ok(Fetched::Unchanged)) => "Unchanged",
            (None, _) => "Complete",
            (Some(fault), _) => fault.outcome(),
        }
    }

    /// Whether it may keep a request waiting: it failed.
    pub const fn costs_time(&self) -> bool {
        matches!(self.fault, Some(Fault::Failed { .. }))
    }
}

/// How many endpoints changed in one way, with one of them.
struct Group {
    endpoints: usize,
    example: EndpointId,
    hint: String,
}

/// What changed in one collection.
#[derive(Default)]
pub(super) struct Changes {
    faults: BTreeMap<Fault, Group>,
    skips: BTreeMap<&'static str, Group>,
    recovered: Option<Group>,
}

impl Changes {
    /// Compares an endpoint's standing with the one before.
    pub fn note(&mut self, endpoint: &EndpointId, before: &Standing, now: &Standing, error: Option<&RequestError>) {
        let new = |hint: String| Group { endpoints: 0, example: endpoint.clone(), hint };
        match now.fault {
            Some(fault) if before.fault != Some(fault) => {
                let hint = || error.map_or_else(partial_hint, ToString::to_string);
                self.faults.entry(fault).or_insert_with(|| new(hint())).endpoints += 1;
            }
            None if before.fault.is_some() => {
                self.recovered.get_or_insert_with(|| new(String::new())).endpoints += 1;
            }
            Some(_) | None => {}
        }
        for reason in now.skipped.iter().filter(|reason| !before.skipped.contains(reason)) {
            let group = self.skips.entry(reason.reason()).or_insert_with(|| new(reason.to_string()));
            group.endpoints += 1;
        }
    }

    /// Says it.
    pub fn log(&self) {
        for (fault, Group { endpoints, example, hint }) in &self.faults {
            warn!(reason = fault.outcome(), endpoints, endpoint = %example, hint, "no complete usage report from workers");
        }
        for (reason, Group { endpoints, example, hint }) in &self.skips {
            info!(reason, endpoints, endpoint = %example, hint, "rows of usage reports are left out");
        }
        if let Some(Group { endpoints, example, hint: _ }) = &self.recovered {
            info!(endpoints, endpoint = %example, "complete usage reports from workers again");
        }
    }
}

fn partial_hint() -> String {
    "fewer entries than expectedWorkers, or one older than two intervals; its rows count all the same".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::report::{self, Parsed};
    use super::*;
    use crate::registry::RegistrySnapshot;

    /// Feeds outcomes of one endpoint after another; what is said of each step.
    fn said(outcomes: &[Result<Fetched, RequestError>]) -> Vec<Vec<&'static str>> {
        let endpoint = EndpointId::new("http://h/");
        let mut before = Standing::default();
        let say = |outcome: &Result<Fetched, RequestError>| {
            let mut changes = Changes::default();
            let now = Standing::of(outcome, &before);
            changes.note(&endpoint, &before, &now, outcome.as_ref().err());
            before = now;
            let Changes { faults, skips, recovered } = changes;
            let faults = faults.into_keys().map(Fault::outcome);
            faults.chain(skips.into_keys()).chain(recovered.map(|_| "recovered")).collect()
        };
        outcomes.iter().map(say).collect()
    }

    fn parsed(expected: usize, servers: &str) -> Result<Fetched, RequestError> {
        let body = format!(
            r#"{{"apiVersion":"{}","kind":"{}","generatedAt":1,"expectedWorkers":{expected},
                "workers":[{{"id":"w","observedAt":1,"servers":[{servers}]}}]}}"#,
            report::API_VERSION,
            report::KIND,
        );
        let parsed: Parsed = report::parse(body.as_bytes(), &report::Timing::saved(), &RegistrySnapshot::default())?;
        Ok(Fetched::Report(parsed, None))
    }

    #[test]
    fn a_fault_is_said_once_until_it_changes_or_ends() {
        let steps = [
            parsed(1, ""),
            Err(RequestError::Status(500)),
            Err(RequestError::Status(500)),
            Err(RequestError::Status(401)),
            Err(RequestError::TimedOut),
            parsed(2, ""),
            Ok(Fetched::Unchanged),
            Err(RequestError::TimedOut),
            Ok(Fetched::Unchanged),
            parsed(1, ""),
            Ok(Fetched::Unchanged),
        ];
        let expected: [&[&str]; 11] = [
            &[],
            &["Status"],
            &[],
            &["Status"],
            &["Timeout"],
            &["Partial"],
            &[],
            &["Timeout"],
            &["Partial"],
            &["recovered"],
            &[],
        ];
        assert_eq!(said(&steps), expected);
    }

    #[test]
    fn left_out_rows_are_said_once_whatever_happens_in_between() {
        let unknown = || parsed(1, "{}");
        let both = parsed(1, r#"{},{"active":-1}"#);
        let steps = [unknown(), unknown(), Err(RequestError::TimedOut), unknown(), both];
        let expected: [&[&str]; 5] = [&["UnknownServer"], &[], &["Timeout"], &["recovered"], &["Negative"]];
        assert_eq!(said(&steps), expected);
    }

    #[test]
    fn many_endpoints_with_one_fault_make_one_line() {
        let mut changes = Changes::default();
        let error = RequestError::TimedOut;
        for number in 0..1000 {
            let endpoint = EndpointId::new(&format!("http://h/{number}"));
            let now = Standing::of(&Err(error.clone()), &Standing::default());
            changes.note(&endpoint, &Standing::default(), &now, Some(&error));
        }
        assert_eq!(changes.faults.len(), 1);
        assert_eq!(changes.faults.values().next().map(|group| group.endpoints), Some(1000));
    }
}
