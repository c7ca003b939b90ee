//! The registration of an object, for its status (`docs/contract.md#registration-in-contextforge`). Pure.

use std::borrow::Cow;
use std::sync::Arc;

use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::api::v1alpha1::registration::RegistrationStatus;
use crate::registration::outcome::{ObjectRegistration, Outcomes, RegisteredCondition, differs};
use crate::registry::{GatewayRecord, Spec};

/// What is known of the registrations.
#[derive(Clone, Debug)]
pub enum Registrations {
    /// Without `--contextforge-url` nothing is registered.
    NotConfigured,
    /// The outcomes so far, by the uid of the object.
    Known(Arc<Outcomes>),
}

impl Registrations {
    /// Whether both are the same outcomes, by address.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NotConfigured, Self::NotConfigured) => true,
            (Self::Known(one), Self::Known(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// What the status should say of a registration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RegistrationTarget<'a> {
    /// The condition `Registered`, if there is to be one.
    pub condition: Option<Cow<'a, RegisteredCondition>>,
    /// `status.registration`.
    pub status: Option<Cow<'a, RegistrationStatus>>,
}

impl<'a> RegistrationTarget<'a> {
    pub(super) fn of(record: &'a GatewayRecord, registrations: &'a Registrations) -> Self {
        let before = record.registration_status().map(Cow::Borrowed);
        if record.registration().is_none() {
            // An unusable spec does not say whether it should be registered: its entry is not forgotten.
            let refused = matches!(record.spec, Spec::Refused(_));
            return Self { condition: None, status: before.filter(|_| refused) };
        }
        let Registrations::Known(outcomes) = registrations else {
            let condition = RegisteredCondition::new(Reason::NotConfigured);
            return Self { condition: Some(Cow::Owned(condition)), status: before };
        };
        match outcomes.get(&record.uid).filter(|outcome| outcome.generation == record.generation) {
            Some(ObjectRegistration { condition, status, .. }) => {
                let status = Some(Cow::Borrowed(status)).filter(|status| **status != RegistrationStatus::default());
                Self { condition: Some(Cow::Borrowed(condition)), status }
            }
            None => Self { condition: Some(Cow::Owned(last_known(record))), status: before },
        }
    }

    /// Whether the observed status differs in more than the condition.
    pub(super) fn differs(&self, record: &GatewayRecord) -> bool {
        differs(record.registration_status(), self.status.as_deref())
    }
}

/// Until this leader has an outcome for the present spec, that of its predecessor stays.
fn last_known(record: &GatewayRecord) -> RegisteredCondition {
    let observed = record.status.condition(ConditionType::Registered).filter(|observed| observed.current);
    let known = observed.and_then(|observed| {
        let message = record.registered_message().unwrap_or_default().to_owned();
        let condition = RegisteredCondition { message: message.into(), ..RegisteredCondition::new(observed.reason?) };
        (Some(condition.status) == observed.status).then_some(condition)
    });
    let stale = |condition: &RegisteredCondition| condition.reason == Reason::NotConfigured;
    known.filter(|condition| !stale(condition)).unwrap_or_else(|| RegisteredCondition::new(Reason::Pending))
}

/// `Ready` of an object, given what it would be without its registration. The registration is a part of it.
pub(super) fn ready(
    without: (ConditionStatus, Reason),
    registered: &RegisteredCondition,
    before: Option<(ConditionStatus, Reason)>,
) -> (ConditionStatus, Reason) {
    match (without.0, registered.status) {
        (ConditionStatus::True, ConditionStatus::True) => without,
        (ConditionStatus::True, _) if registered.reason == Reason::Disabled => without,
        // Nothing new is known: one restart of ContextForge must not make every object unready.
        (ConditionStatus::True, ConditionStatus::Unknown) if registered.says_nothing_new() => match before {
            Some((ConditionStatus::True, _)) => without,
            Some((ConditionStatus::False, reason)) => (ConditionStatus::False, reason),
            _ => (ConditionStatus::False, registered.reason),
        },
        (ConditionStatus::True, _) => (ConditionStatus::False, registered.reason),
        _ => without,
    }
}
