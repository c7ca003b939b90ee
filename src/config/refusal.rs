//! What is said of a setting that cannot be. Pure words: one line each, which names the flag, or the environment variable if
//! the value came from there, and what is allowed. A value that may hold a secret is not repeated.

use std::fmt;

/// The prefix of the environment variables that are flags.
pub const ENV_PREFIX: &str = "MCPGW_";

/// As much of a bad value as is repeated.
const SHOWN_CHARS: usize = 60;

/// The environment variable of a flag.
#[must_use]
pub fn variable(flag: &str) -> String {
    format!("{ENV_PREFIX}{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"))
}

/// A setting that cannot be: exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadSetting {
    /// With its two hyphens.
    flag: String,
    /// Whether the value came from the environment: then the variable is what has to be mended.
    from_environment: bool,
    /// What was given, fit to be shown; `None` where it may hold a secret, or where something is missing.
    given: Option<String>,
    /// What to do instead.
    advice: String,
}

impl BadSetting {
    /// A setting that cannot be, whatever its value; `advice` says what to do, such as `use …` or `needs …`.
    #[must_use]
    pub fn new(flag: &str, advice: impl Into<String>) -> Self {
        Self { flag: flag.to_owned(), from_environment: false, given: None, advice: advice.into() }
    }

    /// With the value, if it looks like nothing that could hold a secret.
    #[must_use]
    pub fn given(self, value: &str) -> Self {
        Self { given: shown(value), ..self }
    }

    /// From the environment, or from the command line.
    #[must_use]
    pub fn by_variable(self, so: bool) -> Self {
        Self { from_environment: so, ..self }
    }

    /// The flag that it speaks of, with its two hyphens.
    #[must_use]
    pub fn flag(&self) -> &str {
        &self.flag
    }

    /// The owner id has no default where the namespace kube-system may not be read.
    #[must_use]
    pub fn owner_needed() -> Self {
        let advice = "name this release, for the namespace kube-system may not be read (get namespaces kube-system)";
        Self::new("--redis-owner-id", advice)
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flag, from_environment, given, advice } = self;
        match given {
            Some(given) => write!(f, "invalid value '{given}' for ")?,
            None => f.write_str("bad setting ")?,
        }
        if *from_environment {
            write!(f, "'{}' (which stands for '{flag}'): {advice}", variable(flag))
        } else {
            write!(f, "'{flag}': {advice}")
        }
    }
}

/// All that is wrong with the settings taken together, one line each. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadSettings(pub Vec<BadSetting>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// A value, fit for one line; an empty one too. `None` for what looks like a URL or holds an `@` or a `?`: whatever the flag, a URL that
/// slipped there may carry a password or a token.
fn shown(value: &str) -> Option<String> {
    if value.contains("//") || value.contains(['@', '?']) {
        return None;
    }
    let clean = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { '?' } else { c };
    let mut text: String = value.chars().take(SHOWN_CHARS).map(clean).collect();
    if value.chars().nth(SHOWN_CHARS).is_some() {
        text.push('…');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_points_to_where_the_value_came_from() {
        let bad = BadSetting::new("--min-hot", "use less").given("9");
        assert_eq!(bad.to_string(), "invalid value '9' for '--min-hot': use less");
        let bad = bad.by_variable(true);
        assert_eq!(bad.to_string(), "invalid value '9' for 'MCPGW_MIN_HOT' (which stands for '--min-hot'): use less");
    }

    #[test]
    fn a_line_stays_a_line_and_short() {
        let line =
            BadSetting::new("--x", "use y").given(&format!("a\n\n\u{1b}[2Jb{}", "z".repeat(100_000))).to_string();
        assert!(!line.contains(['\n', '\u{1b}']) && line.len() < 200, "{line}");
        assert!(line.contains("a???[2Jb") && line.contains('…'), "{line}");
    }

    #[test]
    fn what_may_hold_a_secret_is_not_repeated_whatever_the_flag() {
        for value in ["redis://:planted@h", "user:planted@h", "h/usage?token=planted", "//planted"] {
            assert!(!BadSetting::new("--x", "use y").given(value).to_string().contains("planted"), "{value}");
        }
    }
}
