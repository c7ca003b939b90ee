//! A fleet object in the words of `status`, `doctor` and `explain`. Pure.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::FleetConditionType;
use super::v1alpha1::{
    EndpointsStatus, McpGatewayFleet, PublicationStatus, RedisLockStatus, SilentEndpointStatus, SoleReporterStatus,
};
use crate::model::TakeoverDecision;

/// How many silent endpoints are named.
const NAMED: usize = 5;

impl McpGatewayFleet {
    /// Whether the emergency brake is on, by the spec or by what the leader still does.
    pub fn is_suspended(&self) -> bool {
        let status = self.status.as_ref();
        self.spec.suspend || status.is_some_and(|status| status.is_true(FleetConditionType::Suspended))
    }

    /// The command that releases the emergency brake.
    pub fn resume_command(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        format!(r#"kubectl patch mcpfleet {name} -n {namespace} --type=merge -p '{{"spec":{{"suspend":false}}}}'"#)
    }
}

/// `3 of 5 reported; silent: http://a since TIME, http://b (no report yet, known since TIME)`.
impl fmt::Display for EndpointsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known, answered, summary: _, silent, sole_reporter } = self;
        write!(f, "{answered} of {known} reported")?;
        for (number, SilentEndpointStatus { endpoint, reported, since: Time(since) }) in
            silent.iter().take(NAMED).enumerate()
        {
            f.write_str(if number == 0 { "; silent: " } else { ", " })?;
            match reported {
                true => write!(f, "{endpoint} since {since}")?,
                false => write!(f, "{endpoint} (no report yet, known since {since})")?,
            }
        }
        let unnamed = known.saturating_sub(*answered) - i64::try_from(silent.len().min(NAMED)).unwrap_or_default();
        if !silent.is_empty() && unnamed > 0 {
            write!(f, " and {unnamed} more")?;
        }
        let Some(SoleReporterStatus { endpoint, hot_percent }) = sole_reporter else { return Ok(()) };
        write!(f, "; the use of {hot_percent}% of the hot servers only by {endpoint}")
    }
}

/// `Published`, or `KeptAlive (QuorumMissed) until TIME`. The words are those of `state`.
impl fmt::Display for PublicationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, reason, until } = self;
        write!(f, "{state:?}")?;
        reason.iter().try_for_each(|reason| write!(f, " ({reason})"))?;
        until.iter().try_for_each(|Time(until)| write!(f, " until {until}"))
    }
}

/// `Held`, or `HeldByAnother: classifier_1, taken over with the next publication`. The words are those of `state`.
impl fmt::Display for RedisLockStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, holder, takeover, reason } = self;
        write!(f, "{state:?}")?;
        reason.iter().try_for_each(|reason| write!(f, " ({reason})"))?;
        holder.iter().try_for_each(|holder| write!(f, ": {holder}"))?;
        f.write_str(match takeover {
            None => "",
            Some(TakeoverDecision::LeaveIt) => ", not taken over because of --redis-lock-takeover=never",
            Some(TakeoverDecision::Wait) => ", taken over once it has published nothing for an interval",
            Some(TakeoverDecision::Take) => ", taken over with the next publication",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{PublicationState, RedisLockState};

    fn time() -> Time {
        Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn silent_endpoints_are_named_up_to_five() {
        let silent = |n| SilentEndpointStatus { endpoint: format!("http://w{n}"), reported: n > 0, since: time() };
        let silent: Vec<_> = (0..7).map(silent).collect();
        let mut status =
            EndpointsStatus { known: 9, answered: 2, summary: "2/9".to_owned(), silent, sole_reporter: None };
        let named = "2 of 9 reported; silent: http://w0 (no report yet, known since 1970-01-01T00:00:00Z), \
            http://w1 since 1970-01-01T00:00:00Z, http://w2 since 1970-01-01T00:00:00Z, \
            http://w3 since 1970-01-01T00:00:00Z, http://w4 since 1970-01-01T00:00:00Z and 2 more";
        assert_eq!(status.to_string(), named);
        status = EndpointsStatus { known: 3, answered: 3, ..EndpointsStatus::default() };
        assert_eq!(status.to_string(), "3 of 3 reported");
        status.sole_reporter = Some(SoleReporterStatus { endpoint: "http://w1".to_owned(), hot_percent: 70 });
        assert_eq!(status.to_string(), "3 of 3 reported; the use of 70% of the hot servers only by http://w1");
    }

    #[test]
    fn publication_and_lock_read_as_one_line() {
        let publication = PublicationStatus {
            state: PublicationState::KeptAlive,
            reason: Some("QuorumMissed".to_owned()),
            until: Some(time()),
        };
        assert_eq!(publication.to_string(), "KeptAlive (QuorumMissed) until 1970-01-01T00:00:00Z");
        let takeover = Some(TakeoverDecision::Take);
        let lock = RedisLockStatus {
            state: RedisLockState::HeldByAnother,
            holder: Some("c".to_owned()),
            takeover,
            reason: None,
        };
        assert_eq!(lock.to_string(), "HeldByAnother: c, taken over with the next publication");
    }
}
