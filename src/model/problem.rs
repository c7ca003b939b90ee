//! Why something that is tried again and again does not work at present. Pure.

/// A failure that lasts: logged once when it begins, or when its reason changes, however often the call is repeated.
///
/// Reason, subject and advice end up in a condition of the fleet object, a log line and, before the replica is ready,
/// in the answer of `/readyz`. They say what to do and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The reason: two problems with the same reason and subject are the same one.
    pub reason: ProblemReason,
    /// What the reason is about, such as the name of a webhook or an HTTP status code; empty if the reason says it all.
    pub subject: String,
    /// What it means and what to do about it.
    pub advice: String,
    /// What the other side said. Only for the log, because it may contain anything.
    pub detail: String,
}

/// The reason of a [`Problem`]. Stable: a condition reason, and a word that people search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum ProblemReason {
    /// The custom resource definition is not installed.
    CrdMissing,
    /// The API server denied the call.
    Forbidden,
    /// The API server did not understand the call.
    BadRequest,
    /// Permissions are missing; the advice lists them.
    PermissionsMissing,
    /// An admission webhook denies the write; the subject is its name.
    WebhookDenied,
    /// An admission webhook does not answer; the subject is its name.
    WebhookFailed,
    /// An admission policy denies the write; the subject is its name.
    PolicyDenied,
    /// The object breaks a rule of its CRD.
    Invalid,
    /// The object has no room left for its status.
    TooLarge,
    /// The installed CRD is older than this operator and drops `status.term`.
    TermDropped,
    /// The namespace of mirrored objects does not exist.
    NamespaceMissing,
    /// No answer in time.
    TimedOut,
    /// No connection to the API server.
    Unreachable,
    /// The API server answered with an error; the subject is its code.
    ServerError,
}

impl ProblemReason {
    /// Whether it lasts until a person changes something; the others may pass by themselves.
    pub const fn needs_a_person(self) -> bool {
        !matches!(self, Self::TimedOut | Self::Unreachable | Self::ServerError)
    }
}

impl Problem {
    /// A problem without subject and detail.
    pub fn new(reason: ProblemReason, advice: impl Into<String>) -> Self {
        Self { reason, subject: String::new(), advice: advice.into(), detail: String::new() }
    }

    /// Adds what the reason is about.
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..self }
    }

    /// Adds what the other side said.
    pub fn saying(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// What people read beside the reason: the subject, if there is one, and the advice.
    pub fn message(&self) -> String {
        let Self { subject, advice, .. } = self;
        if subject.is_empty() { advice.clone() } else { format!("{subject}: {advice}") }
    }

    /// Reason and message on one line.
    pub fn text(&self) -> String {
        format!("{}: {}", self.reason, self.message())
    }

    /// Replaces `current` by `next`. Returns whether that is news: the same reason and subject are not.
    pub fn replace(current: &mut Option<Self>, next: Option<Self>) -> bool {
        let key = |problem: &Option<Self>| problem.as_ref().map(|problem| (problem.reason, problem.subject.clone()));
        let news = key(current) != key(&next);
        if news {
            *current = next;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_reason_or_subject_is_news() {
        let mut current = None;
        let forbidden = |subject: &str| Some(Problem::new(ProblemReason::Forbidden, "grant it").about(subject));
        assert!(Problem::replace(&mut current, forbidden("list")));
        assert!(!Problem::replace(&mut current, forbidden("list").map(|problem| problem.saying("again"))));
        assert_eq!(current.as_ref().map(Problem::message).as_deref(), Some("list: grant it"));
        assert!(Problem::replace(&mut current, forbidden("watch")));
        assert!(Problem::replace(&mut current, None) && !Problem::replace(&mut current, None));
    }
}
