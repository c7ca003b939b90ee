//! The state of each endpoint, and the log lines when it changes. Pure but for the log.
//!
//! A line is logged when something changes, not for every request. A thousand endpoints that fail for one reason make
//! one line, with their number and one of them as an example: each cause is logged at most once per collection, so at
//! most once a second.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::report::BadRow;
use super::request::UsageResponse;
use super::request_error::RequestError;
use crate::classify::IdentityConflict;
use crate::model::EndpointId;

const PARTIAL_HINT: &str = "fewer entries than expectedWorkers, or one older than two intervals; its rows still count";

/// Why there is no complete report: the label of `worker_reports_total`, and the HTTP status if that is the reason.
type Fault = (&'static str, Option<u16>);

/// How an endpoint answered last. The default is a complete report without bad rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EndpointState {
    /// Why the last request failed.
    error: Option<Fault>,
    /// The last report was partial.
    partial: bool,
    /// Why rows of it were skipped.
    skipped: Vec<BadRow>,
    /// The first id or name in it that is registered for another server.
    conflict: Option<IdentityConflict>,
}

impl EndpointState {
    /// The state after a request. A failed request brings no rows: what was known of them is kept, so that it is not
    /// logged again when the endpoint recovers.
    pub fn after(result: &Result<UsageResponse, RequestError>, before: &Self) -> Self {
        match result {
            Ok(UsageResponse::Report { parsed, .. }) => Self {
                error: None,
                partial: !parsed.report.complete,
                skipped: parsed.skipped.keys().copied().collect(),
                conflict: parsed.identity_conflicts.first().cloned(),
            },
            Ok(UsageResponse::NotModified) => Self { error: None, ..before.clone() },
            Err(error) => {
                let status = if let RequestError::Status(status) = error { Some(*status) } else { None };
                Self { error: Some((error.into(), status)), ..before.clone() }
            }
        }
    }

    fn fault(&self) -> Option<Fault> {
        self.error.or_else(|| self.partial.then_some(("Partial", None)))
    }

    /// The label of `worker_reports_total`.
    pub fn outcome(&self, result: &Result<UsageResponse, RequestError>) -> &'static str {
        match (self.fault(), result) {
            (None, Ok(UsageResponse::NotModified)) => "Unchanged",
            (None, _) => "Complete",
            (Some((reason, _)), _) => reason,
        }
    }

    /// The last request failed, so the next one may take a whole time-out.
    pub const fn is_failing(&self) -> bool {
        self.error.is_some()
    }
}

/// How many endpoints changed in the same way, and one of them.
struct Group {
    endpoints: usize,
    example: EndpointId,
    hint: String,
}

/// The changes of one collection.
#[derive(Default)]
pub(super) struct StateChanges {
    faults: BTreeMap<Fault, Group>,
    skipped: BTreeMap<&'static str, Group>,
    conflicts: Option<Group>,
    recovered: Option<Group>,
}

impl StateChanges {
    /// Compares the state of an endpoint with the one before.
    pub fn note(
        &mut self,
        endpoint: &EndpointId,
        before: &EndpointState,
        now: &EndpointState,
        error: Option<&RequestError>,
    ) {
        let new = |hint: String| Group { endpoints: 0, example: endpoint.clone(), hint };
        match now.fault() {
            Some(fault) if before.fault() != Some(fault) => {
                let hint = || error.map_or_else(|| PARTIAL_HINT.to_owned(), ToString::to_string);
                self.faults.entry(fault).or_insert_with(|| new(hint())).endpoints += 1;
            }
            None if before.fault().is_some() => {
                self.recovered.get_or_insert_with(|| new(String::new())).endpoints += 1;
            }
            Some(_) | None => {}
        }
        for reason in now.skipped.iter().filter(|reason| !before.skipped.contains(reason)) {
            let group = self.skipped.entry(reason.into()).or_insert_with(|| new(reason.to_string()));
            group.endpoints += 1;
        }
        if let Some(conflict) = now.conflict.as_ref().filter(|_| now.conflict != before.conflict) {
            self.conflicts.get_or_insert_with(|| new(conflict.to_string())).endpoints += 1;
        }
    }

    /// Logs them.
    pub fn log(&self) {
        for ((reason, _), Group { endpoints, example, hint }) in &self.faults {
            warn!(reason, endpoints, endpoint = %example, hint, "no complete usage report from workers, will retry");
        }
        for (reason, Group { endpoints, example, hint }) in &self.skipped {
            info!(reason, endpoints, endpoint = %example, hint, "rows of usage reports are skipped");
        }
        if let Some(Group { endpoints, example, hint }) = &self.conflicts {
            warn!(endpoints, endpoint = %example, hint, "rows of usage reports name two registered servers; one counts");
        }
        if let Some(Group { endpoints, example, hint: _ }) = &self.recovered {
            info!(endpoints, endpoint = %example, "worker endpoints recovered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{self, Parsed};
    use super::*;
    use crate::classify::IdentityField;
    use crate::model::ServerUrl;
    use crate::registry::RegistrySnapshot;

    /// What is logged after each of these results of one endpoint.
    fn logged(results: &[Result<UsageResponse, RequestError>]) -> Vec<Vec<&'static str>> {
        let endpoint = EndpointId::new("http://h/");
        let mut before = EndpointState::default();
        let log = |result: &Result<UsageResponse, RequestError>| {
            let mut changes = StateChanges::default();
            let now = EndpointState::after(result, &before);
            changes.note(&endpoint, &before, &now, result.as_ref().err());
            before = now;
            let StateChanges { faults, skipped, conflicts, recovered } = changes;
            let faults = faults.into_keys().map(|(reason, _)| reason);
            let conflicts = conflicts.map(|_| "conflict");
            faults.chain(skipped.into_keys()).chain(conflicts).chain(recovered.map(|_| "recovered")).collect()
        };
        results.iter().map(log).collect()
    }

    fn parsed(expected: usize, servers: &str) -> Result<UsageResponse, RequestError> {
        let body = format!(
            r#"{{"apiVersion":"{}","kind":"{}","generatedAt":1,"expectedWorkers":{expected},
                "workers":[{{"id":"w","observedAt":1,"servers":[{servers}]}}]}}"#,
            report::API_VERSION,
            report::KIND,
        );
        let parsed: Parsed = report::parse(body.as_bytes(), &report::Timing::saved(), &RegistrySnapshot::default())?;
        Ok(UsageResponse::Report { parsed: Box::new(parsed), etag: None, received: crate::clock::monotonic() })
    }

    #[test]
    fn a_fault_is_logged_once_until_it_changes_or_ends() {
        let steps = [
            parsed(1, ""),
            Err(RequestError::Status(500)),
            Err(RequestError::Status(500)),
            Err(RequestError::Status(401)),
            Err(RequestError::TimedOut),
            parsed(2, ""),
            Ok(UsageResponse::NotModified),
            Err(RequestError::TimedOut),
            Ok(UsageResponse::NotModified),
            parsed(1, ""),
            Ok(UsageResponse::NotModified),
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
        assert_eq!(logged(&steps), expected);
    }

    #[test]
    fn skipped_rows_are_logged_once_whatever_happens_in_between() {
        let unknown = || parsed(1, "{}");
        let both = parsed(1, r#"{},{"active":-1}"#);
        let steps = [unknown(), unknown(), Err(RequestError::TimedOut), unknown(), both];
        let expected: [&[&str]; 5] = [&["UnknownServer"], &[], &["Timeout"], &["recovered"], &["Negative"]];
        assert_eq!(logged(&steps), expected);
    }

    #[test]
    fn a_conflict_is_logged_once_until_it_changes() {
        let server = |name: &str| ServerUrl::parse(&format!("http://{name}/")).unwrap();
        let in_conflict = |value: &str| {
            parsed(1, "").map(|mut response| {
                let UsageResponse::Report { parsed, .. } = &mut response else { panic!("a report") };
                let (named, counted) = (server("a"), server("b"));
                let field = IdentityField::GatewayId;
                parsed.identity_conflicts.add(IdentityConflict { field, value: value.into(), named, counted });
                response
            })
        };
        let unchanged = Ok(UsageResponse::NotModified);
        let steps = [in_conflict("1"), unchanged, in_conflict("1"), in_conflict("2"), parsed(1, ""), in_conflict("2")];
        let expected: [&[&str]; 6] = [&["conflict"], &[], &[], &["conflict"], &[], &["conflict"]];
        assert_eq!(logged(&steps), expected);
    }

    #[test]
    fn many_endpoints_with_one_fault_make_one_line() {
        let mut changes = StateChanges::default();
        let error = RequestError::TimedOut;
        for number in 0..1000 {
            let endpoint = EndpointId::new(&format!("http://h/{number}"));
            let now = EndpointState::after(&Err(error.clone()), &EndpointState::default());
            changes.note(&endpoint, &EndpointState::default(), &now, Some(&error));
        }
        assert_eq!(changes.faults.len(), 1);
        assert_eq!(changes.faults.values().next().map(|group| group.endpoints), Some(1000));
    }
}
