//! The Lease as `doctor` and `explain` show it, judged by the times in it. Pure.
//!
//! The election itself never compares the clock of another replica with its own: see [`super::decision`].

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::record;
use crate::model::UnixTime;

/// How far the clocks of this machine and of the holder may differ.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);

/// Whether a replica leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseView {
    /// There is no Lease.
    Missing,
    /// It was released.
    Free,
    /// This holder renews it.
    Held(String),
    /// Its holder has not renewed it for its duration and 30 s.
    Expired {
        /// The `holderIdentity`.
        holder: String,
        /// The `renewTime`, if there is one.
        renewed: Option<UnixTime>,
    },
}

impl LeaseView {
    /// Judges a Lease by the wall clock of this machine. `None`: there is none.
    pub fn new(lease: Option<&Lease>, now: UnixTime) -> Self {
        let Some(lease) = lease else { return Self::Missing };
        let Some(holder) = record::holder(lease).map(str::to_owned) else { return Self::Free };
        let renewed = record::renewed(lease);
        let limit = record::duration(lease).unwrap_or(record::USUAL_DURATION) + CLOCK_DIFFERENCE;
        if renewed.is_some_and(|renewed| now.since(renewed) <= limit) {
            Self::Held(holder)
        } else {
            Self::Expired { holder, renewed }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a_lease_is_expired_after_its_duration_and_half_a_minute() {
        let now = UnixTime::from_seconds(1e9).unwrap();
        let view = |holder: Option<&str>, age: Option<i64>| {
            let renew_time = age.map(|age| MicroTime(Timestamp::from_second(1_000_000_000 - age).unwrap()));
            let holder_identity = holder.map(str::to_owned);
            let spec =
                LeaseSpec { holder_identity, renew_time, lease_duration_seconds: Some(15), ..LeaseSpec::default() };
            LeaseView::new(Some(&Lease { spec: Some(spec), ..Lease::default() }), now)
        };
        assert_eq!(LeaseView::new(None, now), LeaseView::Missing);
        assert_eq!((view(None, Some(1)), view(Some(""), Some(1))), (LeaseView::Free, LeaseView::Free));
        assert_eq!(view(Some("x"), Some(40)), LeaseView::Held("x".to_owned()), "clocks may differ");
        assert!(matches!(view(Some("x"), Some(60)), LeaseView::Expired { renewed: Some(_), .. }));
        assert!(matches!(view(Some("x"), None), LeaseView::Expired { renewed: None, .. }));
    }
}
