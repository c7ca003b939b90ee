//! What stands in the way of something that is tried over and over. Pure.

/// Why something does not work at present: told once, when it begins or becomes another one, however often it is tried.
///
/// Reason and advice end up in a fact of the fleet, a log line and, before the replica is ready, in the answer of `/readyz`;
/// so they say what to do, and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A stable word or two, by which problems are told apart.
    pub reason: String,
    /// What it is, and what to do about it, in words of ours.
    pub advice: String,
    /// What others said of it; for the log alone, because it may hold anything and changes.
    pub detail: String,
}

impl Problem {
    /// With these words.
    #[must_use]
    pub fn new(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { reason: reason.into(), advice: advice.into(), detail: String::new() }
    }

    /// With what others said of it.
    #[must_use]
    pub fn saying(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// As a fact of the fleet; `fine` where nothing is in the way.
    #[must_use]
    pub fn fact(problem: Option<&Self>, fine: &str) -> String {
        problem.map_or_else(|| fine.to_owned(), |Self { reason, advice, detail: _ }| format!("{reason}: {advice}"))
    }

    /// Puts `now` in the place of `before`. Says whether that is news: an problem that is met again for the same reason
    /// is none.
    pub fn replace(before: &mut Option<Self>, now: Option<Self>) -> bool {
        let reason = |problem: &Option<Self>| problem.as_ref().map(|problem| problem.reason.clone());
        let news = reason(before) != reason(&now);
        if news {
            *before = now;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_reason_is_news() {
        let mut standing = None;
        assert!(Problem::replace(&mut standing, Some(Problem::new("Forbidden", "grant it").saying("no"))));
        assert!(!Problem::replace(&mut standing, Some(Problem::new("Forbidden", "for the 2nd time"))));
        assert_eq!(Problem::fact(standing.as_ref(), "Fine"), "Forbidden: grant it");
        assert!(Problem::replace(&mut standing, Some(Problem::new("CrdMissing", "apply it"))));
        assert!(Problem::replace(&mut standing, None) && !Problem::replace(&mut standing, None));
        assert_eq!(Problem::fact(standing.as_ref(), "Fine"), "Fine");
    }
}
