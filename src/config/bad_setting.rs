//! Errors about settings. Each is one line that names the flag, or the environment variable if the value came from
//! there, and says what is allowed. A value that may hold a secret is never repeated.

use std::fmt;
use std::time::Duration;

use super::values::format_duration;

/// The prefix of the environment variables of flags.
pub(crate) const ENV_PREFIX: &str = "MCPGW_";

/// How many characters of a bad value are printed.
const MAX_VALUE_CHARS: usize = 60;

/// The environment variable of a flag.
pub fn variable(flag: &str) -> String {
    format!("{ENV_PREFIX}{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"))
}

/// An invalid or missing setting. The program exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadSetting {
    /// With its two hyphens.
    pub(crate) flag: String,
    /// Whether the value came from the environment. The error then names the variable.
    from_variable: bool,
    /// The value as it may be printed; `None` if it may hold a secret, or if there is none.
    value: Option<String>,
    /// What to do instead.
    advice: String,
}

impl BadSetting {
    /// An error about this flag. `advice` says what to do, such as `use …` or `needs …`.
    pub(crate) fn new(flag: &str, advice: impl Into<String>) -> Self {
        Self { flag: flag.to_owned(), from_variable: false, value: None, advice: advice.into() }
    }

    /// A duration that conflicts with another setting.
    pub(crate) fn duration(flag: &str, allowed: &str, value: Duration) -> Self {
        Self::new(flag, format!("use {allowed}")).given(&format_duration(value))
    }

    /// One error for each flag with `true`: it is set although its condition is not met.
    pub(super) fn unmet<const N: usize>(flags: [(&str, bool, &str); N]) -> Vec<Self> {
        let unmet = flags.into_iter().filter(|(_, is_unmet, _)| *is_unmet);
        unmet.map(|(flag, _, condition)| Self::new(flag, condition)).collect()
    }

    /// Adds the value that was given, unless it looks like something that could hold a secret.
    pub(crate) fn given(self, value: &str) -> Self {
        Self { value: printable(value), ..self }
    }

    /// Says whether the value came from the environment variable.
    pub(crate) fn set_by_variable(self, from_variable: bool) -> Self {
        Self { from_variable, ..self }
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flag, from_variable, value, advice } = self;
        match value {
            Some(value) => write!(f, "invalid value '{value}' for ")?,
            None => f.write_str("invalid setting ")?,
        }
        if *from_variable {
            write!(f, "'{}' (the variable of '{flag}'): {advice}", variable(flag))
        } else {
            write!(f, "'{flag}': {advice}")
        }
    }
}

/// All errors about settings, one line each. Never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct BadSettings(pub(crate) Vec<BadSetting>);

impl BadSettings {
    pub(crate) fn check(conflicts: Vec<BadSetting>) -> Result<(), Self> {
        if conflicts.is_empty() { Ok(()) } else { Err(Self(conflicts)) }
    }
}

/// A value shortened to fit one line. `None` if it looks like a URL or contains `@` or `?`: whatever the flag, a URL
/// given there by mistake may carry a password or a token.
fn printable(value: &str) -> Option<String> {
    if value.contains("//") || value.contains(['@', '?']) {
        return None;
    }
    let replace = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { '?' } else { c };
    let mut text: String = value.chars().take(MAX_VALUE_CHARS).map(replace).collect();
    if value.chars().nth(MAX_VALUE_CHARS).is_some() {
        text.push('…');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_variable_if_the_value_came_from_it() {
        let bad = BadSetting::new("--min-hot", "use less").given("9");
        assert_eq!(bad.to_string(), "invalid value '9' for '--min-hot': use less");
        let bad = bad.set_by_variable(true);
        assert_eq!(bad.to_string(), "invalid value '9' for 'MCPGW_MIN_HOT' (the variable of '--min-hot'): use less");
    }

    #[test]
    fn an_error_is_one_short_line() {
        let line =
            BadSetting::new("--x", "use y").given(&format!("a\n\n\u{1b}[2Jb{}", "z".repeat(100_000))).to_string();
        assert!(!line.contains(['\n', '\u{1b}']) && line.len() < 200, "{line}");
        assert!(line.contains("a???[2Jb") && line.contains('…'), "{line}");
    }

    #[test]
    fn a_value_that_may_hold_a_secret_is_never_repeated() {
        for value in ["redis://:planted@h", "user:planted@h", "h/usage?token=planted", "//planted"] {
            assert!(!BadSetting::new("--x", "use y").given(value).to_string().contains("planted"), "{value}");
        }
    }
}
