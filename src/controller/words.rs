//! What became of a turn, in the words of the fleet's facts and of the log. They stand still while nothing happens.

use super::cycle::Decision;
use crate::publish::foreign_holder::TakeoverDecision;
use crate::publish::{LockState, NotWritten, Published};

/// What stands in Redis. `configured`: whether there is a Redis at all.
pub(super) fn publication(
    decision: Decision,
    configured: bool,
    last: Option<&Result<Published, NotWritten>>,
) -> String {
    match (decision, last) {
        (Decision::GiveUp { missing }, _) => format!("GivenUp: {}", missing.reason()),
        (Decision::KeepAlive { missing, until }, _) => format!("KeptAlive: {}, until {until}", missing.reason()),
        (Decision::Classify, _) if !configured => "StatusesOnly: no Redis is configured".to_owned(),
        (Decision::Classify, Some(Ok(_))) => "Published".to_owned(),
        (Decision::Classify, None) => "Pending".to_owned(),
        (Decision::Classify, Some(Err(other))) => format!("NotPublished: {}", refusal(other)),
    }
}

/// Why a publication did not take place.
pub(super) fn refusal(refusal: &NotWritten) -> String {
    match refusal {
        // Who holds it stands in the fact of its own, which the keeper follows.
        NotWritten::NotHeld(_) => "the Redis lock is held by another".to_owned(),
        NotWritten::Fenced { .. } => "Redis knows a higher term".to_owned(),
        NotWritten::Failed(error) => error.reason().to_owned(),
        other => other.label().to_owned(),
    }
}

/// Who holds the Redis lock.
pub(super) fn lock(state: Option<&LockState>) -> String {
    match state {
        None => "Off: no Redis is configured".to_owned(),
        Some(LockState::Off | LockState::Unknown) => "Unknown".to_owned(),
        Some(LockState::Held) => "Held".to_owned(),
        Some(LockState::Fenced { .. }) => "Fenced: Redis knows a higher term".to_owned(),
        Some(LockState::Foreign { holder, takeover }) => {
            let then = match takeover {
                TakeoverDecision::LeaveIt => "left alone, by --redis-lock-takeover=never",
                TakeoverDecision::Wait => "to be taken once it has published nothing for an interval",
                TakeoverDecision::Take => "publishes nothing, to be taken with the next publication",
            };
            format!("HeldByAnother: {holder}; {then}")
        }
        Some(LockState::OtherRelease { holder }) => {
            format!("HeldByAnotherRelease: {holder}; give one of them its own Redis or --redis-key-prefix")
        }
        Some(LockState::Unreachable { reason }) => format!("Unreachable: {reason}"),
    }
}
