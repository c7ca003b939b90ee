//! Whether a fleet object shows the present: it is compared with the Lease beside it, which its leader renews every few
//! seconds. A fleet at rest writes nothing, so the age of the object says nothing. Pure.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::cluster::no_leader;
use crate::api::v1alpha1::McpGatewayFleet;
use crate::leadership::record::{LeaseFacts, LeaseView};
use crate::model::Term;

/// Why what a fleet object shows is old. Serialized as `reason` and `message`.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum Outdated {
    /// Nobody leads, so nobody writes it: why.
    NoLeader(String),
    /// It was written by another leader than the holder of the Lease.
    OtherLeader { shown: Option<String>, holder: String },
    /// It was written at a lower term than that of the Lease.
    LowerTerm { shown: i32, lease: Term },
    /// Its spec was changed, and the status is about an earlier generation.
    SpecNotObserved { generation: i64, observed: i64 },
    /// The leader cannot write it: why, as it says in the Lease.
    NotWritten(String),
}

impl Outdated {
    /// All reasons, for a fleet object that has a status. `lease_name`: as `namespace/name`.
    pub fn of(fleet: &McpGatewayFleet, lease_name: &str, lease: &LeaseFacts) -> Vec<Self> {
        let Some(status) = &fleet.status else { return Vec::new() };
        let mut reasons = Vec::new();
        if let Some(why) = no_leader(lease_name, &lease.view) {
            return vec![Self::NoLeader(why)];
        }
        if let LeaseView::Held(holder) = &lease.view {
            let shown = status.leader.as_ref().map(|leader| leader.identity.clone());
            let lower = lease.term.zip(status.term).filter(|(lease, shown)| *shown < lease.get());
            if shown.as_ref() != Some(holder) {
                reasons.push(Self::OtherLeader { shown, holder: holder.clone() });
            } else if let Some((lease, shown)) = lower {
                reasons.push(Self::LowerTerm { shown, lease });
            }
        }
        let (generation, observed) = (fleet.metadata.generation.unwrap_or_default(), status.observed_generation);
        if let Some(observed) = observed.filter(|observed| *observed < generation) {
            reasons.push(Self::SpecNotObserved { generation, observed });
        }
        reasons.extend(lease.fleet_not_written.clone().map(Self::NotWritten));
        reasons
    }

    /// A stable word.
    pub fn reason(&self) -> &'static str {
        self.into()
    }

    /// What is so, and what to do.
    pub fn message(&self) -> String {
        match self {
            Self::NoLeader(why) => format!("{why}; this is what the last leader saw"),
            Self::OtherLeader { shown, holder } => format!(
                "{} wrote this, and {holder} holds the Lease: a new leader writes it within one interval, or cannot",
                shown.as_deref().unwrap_or("a former leader")
            ),
            Self::LowerTerm { shown, lease } => {
                format!(
                    "this was written at term {shown}, and the Lease has term {lease}: it is written within one \
                     interval"
                )
            }
            Self::SpecNotObserved { generation, observed } => format!(
                "the spec has generation {generation}, and this is about generation {observed}: the leader acts on it \
                 within two seconds, or cannot"
            ),
            Self::NotWritten(why) => format!("the leader cannot write the McpGatewayFleet: {why}"),
        }
    }
}

impl Serialize for Outdated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Outdated", 2)?;
        object.serialize_field("reason", self.reason())?;
        object.serialize_field("message", &self.message())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::UnixTime;

    fn fleet(generation: i64, status: &Value) -> McpGatewayFleet {
        let object = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet",
            "metadata": {"name": "l", "namespace": "n", "generation": generation}, "spec": {}, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn reasons(fleet: &McpGatewayFleet, change: impl FnOnce(&mut LeaseFacts)) -> Vec<&'static str> {
        let mut lease = LeaseFacts {
            view: LeaseView::Held("pod_1".to_owned()),
            term: Term::new(3),
            renewed: None,
            fleet_not_written: None,
        };
        change(&mut lease);
        let found = Outdated::of(fleet, "n/l", &lease);
        found.iter().for_each(|outdated| assert!(outdated.message().len() > 20, "{outdated:?}"));
        found.iter().map(Outdated::reason).collect()
    }

    #[test]
    fn a_fleet_object_is_compared_with_the_lease() {
        let leader = json!({"identity": "pod_1", "since": "2026-01-01T00:00:00Z"});
        let current = fleet(2, &json!({"term": 3, "leader": leader, "observedGeneration": 2}));
        assert!(reasons(&current, |_| ()).is_empty());
        assert!(reasons(&current, |lease| lease.term = None).is_empty(), "a Lease of another program has no term");
        let other = |lease: &mut LeaseFacts| lease.view = LeaseView::Held("pod_2".to_owned());
        assert_eq!(reasons(&current, other), ["OtherLeader"]);
        assert_eq!(reasons(&current, |lease| lease.term = Term::new(4)), ["LowerTerm"]);
        assert_eq!(
            reasons(&current, |lease| lease.fleet_not_written = Some("Forbidden: grant it".to_owned())),
            ["NotWritten"]
        );
        let edited = fleet(3, &json!({"term": 3, "leader": leader, "observedGeneration": 2}));
        assert_eq!(reasons(&edited, |_| ()), ["SpecNotObserved"]);
        let renewed = UnixTime::from_seconds(1e9);
        for view in [
            LeaseView::Missing,
            LeaseView::Free,
            LeaseView::Expired { holder: "pod_1".to_owned(), renewed },
            LeaseView::Expired { holder: "pod_1".to_owned(), renewed: None },
        ] {
            let not_written = Some("of the last leader".to_owned());
            assert_eq!(
                reasons(&edited, |lease| (lease.view, lease.fleet_not_written) = (view, not_written)),
                ["NoLeader"]
            );
        }
        assert!(reasons(&fleet(1, &Value::Null), |_| ()).is_empty());
        let outdated = Outdated::NotWritten("Forbidden: grant it".to_owned());
        let message = "the leader cannot write the McpGatewayFleet: Forbidden: grant it";
        assert_eq!(json!(outdated), json!({"reason": "NotWritten", "message": message}));
    }
}
