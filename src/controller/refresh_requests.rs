//! The refresh requests that no status answers yet (`docs/contract.md#refresh-requests`). Pure.

use std::collections::HashMap;

use crate::model::{ObjectName, UnixTime};
use crate::registry::{GatewayRecord, RefreshRequest, RegistrySnapshot};

/// The open requests of the registered objects. A time that was ahead is remembered as the moment at which this leader
/// first saw the request; afterwards the status has it.
#[derive(Debug, Default)]
pub(super) struct RefreshRequests(HashMap<ObjectName, RefreshRequest>);

impl RefreshRequests {
    /// Takes in what the objects ask for now.
    pub(super) fn follow(&mut self, registry: &RegistrySnapshot, now: UnixTime) {
        let mut before = std::mem::take(&mut self.0);
        for (record, _) in registry.registered() {
            let Some(RefreshRequest { value, time: Some(time) }) = record.refresh_request.as_deref() else { continue };
            if record.status.answered.as_ref().is_some_and(|answered| answered.value == *value) {
                continue;
            }
            let known = before.remove(&record.name).filter(|before| before.value == *value);
            let request = known.unwrap_or_else(|| {
                // Whole seconds, as in the status and in Redis.
                RefreshRequest { value: value.clone(), time: Some(time.min(&now).rounded_up()) }
            });
            self.0.insert(record.name.clone(), request);
        }
    }

    /// The requests by object, to be answered once gateways find them.
    pub(super) const fn open(&self) -> &HashMap<ObjectName, RefreshRequest> {
        &self.0
    }

    /// The moment before which a refresh does not count, as the annotation of this object asks, answered or not.
    pub(super) fn moment(&self, record: &GatewayRecord) -> Option<UnixTime> {
        let asked = record.refresh_request.as_deref()?;
        let answered = record.status.answered.as_deref().filter(|answered| answered.value == asked.value);
        answered.or_else(|| self.0.get(&record.name))?.time
    }
}
