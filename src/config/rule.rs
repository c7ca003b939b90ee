//! What one value must be: read by clap, said in the refusal, in `--help` and in `docs/settings.md`, all from one [`Rule`].
//!
//! In: the text of a flag or variable. Out: the typed value, or a [`BadSetting`]. A rule knows one value only; what the settings
//! mean to each other is checked in [`super`].

use std::ffi::OsStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, TypedValueParser, ValueParser};
use clap::error::{Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command};

use super::refusal::BadSetting;

/// Why a value is refused, beside what is allowed; `None` if that says enough. Must not repeat the value where the rule is
/// [`Rule::secret`].
pub(super) type Hint = Option<String>;

type Reader<T> = dyn Fn(&OsStr) -> Result<T, Hint> + Send + Sync;

/// What one value must be.
pub(crate) struct Rule<T> {
    /// A noun phrase, such as `a number from 0 to 1`.
    allowed: String,
    /// Whether a bad value may hold a secret and is not repeated.
    secret: bool,
    read: Arc<Reader<T>>,
}

impl<T> Clone for Rule<T> {
    fn clone(&self) -> Self {
        Self { allowed: self.allowed.clone(), secret: self.secret, read: Arc::clone(&self.read) }
    }
}

impl<T> Rule<T> {
    /// A rule for text.
    pub(super) fn of(
        allowed: impl Into<String>,
        read: impl Fn(&str) -> Result<T, Hint> + Send + Sync + 'static,
    ) -> Self {
        Self::of_any(allowed, move |value| match value.to_str() {
            Some(text) => read(text),
            None => Err(Some("it is not UTF-8".to_owned())),
        })
    }

    /// A rule for what need not be text, as names of files.
    pub(super) fn of_any(
        allowed: impl Into<String>,
        read: impl Fn(&OsStr) -> Result<T, Hint> + Send + Sync + 'static,
    ) -> Self {
        Self { allowed: allowed.into(), secret: false, read: Arc::new(read) }
    }

    /// The same, for values that are never repeated.
    pub(super) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The same, with what the settings together ask for besides; it is checked where they are together.
    pub(super) fn and(self, more: &str) -> Self {
        Self { allowed: format!("{}; {more}", self.allowed), ..self }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Rule<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(&self, _: &Command, arg: Option<&Arg>, value: &OsStr, source: ValueSource) -> Result<T, Error> {
        (self.read)(value).map_err(|hint| {
            let flag = arg.map(flag_of).unwrap_or_default();
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let bad = BadSetting::new(&flag, format!("use {}{hint}", self.allowed));
            let bad = if self.secret { bad } else { bad.given(&value.to_string_lossy()) };
            Error::raw(ErrorKind::ValueValidation, bad.by_variable(source == ValueSource::EnvVariable))
        })
    }

    /// Carries what is allowed to [`allowed`]: the one thing of a parser that can be read back from a definition. Hidden, or
    /// the help would take it for a value.
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(std::iter::once(PossibleValue::new("").hide(true).help(self.allowed.clone()))))
    }
}

/// What is allowed as the value of this flag, as the refusal says it; `None` if it takes none.
#[must_use]
pub fn allowed(arg: &Arg) -> Option<String> {
    let parser: &ValueParser = arg.get_value_parser();
    let carrier = parser.possible_values()?.find(PossibleValue::is_hide_set)?;
    Some(carrier.get_help()?.to_string())
}

/// The flag with its hyphens; of a word without a flag, what stands for it in the usage.
#[must_use]
pub fn flag_of(arg: &Arg) -> String {
    let name = || arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    arg.get_long().map(|long| format!("--{long}")).or_else(name).unwrap_or_default()
}
