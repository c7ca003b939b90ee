//! What stands in the way of something that is tried over and over. Pure.

/// Why something does not work at present: told once, when it begins or becomes another one, however often it is tried.
///
/// Reason and advice end up in a fact of the fleet, a log line and, before the replica is ready, in the answer of `/readyz`;
/// so they say what to do, and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// A stable word or two, by which obstacles are told apart.
    pub reason: String,
    /// What it is, and what to do about it, in words of ours.
    pub advice: String,
    /// What others said of it; for the log alone, because it may hold anything and changes.
    pub detail: String,
}

impl Obstacle {
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
    pub fn fact(obstacle: Option<&Self>, fine: &str) -> String {
        obstacle.map_or_else(|| fine.to_owned(), |Self { reason, advice, detail: _ }| format!("{reason}: {advice}"))
    }

    /// Puts `now` in the place of `before`. Says whether that is news: an obstacle that is met again for the same reason
    /// is none.
    pub fn replace(before: &mut Option<Self>, now: Option<Self>) -> bool {
        let reason = |obstacle: &Option<Self>| obstacle.as_ref().map(|obstacle| obstacle.reason.clone());
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
        assert!(Obstacle::replace(&mut standing, Some(Obstacle::new("Forbidden", "grant it").saying("no"))));
        assert!(!Obstacle::replace(&mut standing, Some(Obstacle::new("Forbidden", "for the 2nd time"))));
        assert_eq!(Obstacle::fact(standing.as_ref(), "Fine"), "Forbidden: grant it");
        assert!(Obstacle::replace(&mut standing, Some(Obstacle::new("CrdMissing", "apply it"))));
        assert!(Obstacle::replace(&mut standing, None) && !Obstacle::replace(&mut standing, None));
        assert_eq!(Obstacle::fact(standing.as_ref(), "Fine"), "Fine");
    }
}
