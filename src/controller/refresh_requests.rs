//! The refresh requests that no status answers yet (`docs/contract.md#refresh-requests`). Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{ObjectName, UnixTime};
use crate::registry::{GatewayRecord, RefreshRequest, RegistrySnapshot};

/// The open requests of the registered objects. If its time is in the future, a request counts from the moment at which
/// this leader first saw it. Once it is answered, the status has that moment.
#[derive(Debug, Default)]
pub(super) struct RefreshRequests(Arc<HashMap<ObjectName, RefreshRequest>>);

impl RefreshRequests {
    /// Adds new requests, and drops those that are answered or withdrawn.
    pub(super) fn follow(&mut self, registry: &RegistrySnapshot, now: UnixTime) {
        let before = std::mem::take(&mut self.0);
        let mut open = HashMap::new();
        for (record, _) in registry.asking() {
            let Some(RefreshRequest { value, time: Some(time) }) = record.refresh_request() else { continue };
            if record.answered_refresh().is_some_and(|answered| answered.value == *value) {
                continue;
            }
            let known = before.get(&record.name).filter(|before| before.value == *value);
            let request = known.cloned().unwrap_or_else(|| {
                // Whole seconds, as in the status and in Redis.
                RefreshRequest { value: value.clone(), time: Some(time.min(&now).rounded_up()) }
            });
            open.insert(record.name.clone(), request);
        }
        self.0 = Arc::new(open);
    }

    /// The requests by object, to be answered once they are published.
    pub(super) const fn open(&self) -> &Arc<HashMap<ObjectName, RefreshRequest>> {
        &self.0
    }

    /// The moment before which a refresh does not count by the annotation of this object, answered or not.
    pub(super) fn moment(&self, record: &GatewayRecord) -> Option<UnixTime> {
        let asked = record.refresh_request()?;
        let answered = record.answered_refresh().filter(|answered| answered.value == asked.value);
        answered.or_else(|| self.0.get(&record.name))?.time
    }
}
