//! A [`Rule`] says what the value of one flag must be. clap parses by it, and the error, `--help` and
//! `docs/settings.md` all quote it.
//!
//! A rule knows one value only; [`super`] checks the settings against each other.

use std::ffi::OsStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command};

use super::bad_setting::BadSetting;

/// What else to say about an invalid value, beside what is allowed. It must not repeat the value of a
/// [`Rule::secret`] rule.
pub(super) type Hint = Option<String>;

type Parser<T> = dyn Fn(&OsStr) -> Result<T, Hint> + Send + Sync;

/// What the value of one flag must be.
#[derive(Clone)]
pub(crate) struct Rule<T> {
    /// A noun phrase, such as `a number from 0 to 1`.
    allowed: String,
    /// Whether the value may hold a secret; then it is never printed.
    secret: bool,
    parse: Arc<Parser<T>>,
}

impl<T> Rule<T> {
    /// A rule for text.
    pub(super) fn new(
        allowed: impl Into<String>,
        parse: impl Fn(&str) -> Result<T, Hint> + Send + Sync + 'static,
    ) -> Self {
        Self::for_os_str(allowed, move |value| match value.to_str() {
            Some(text) => parse(text),
            None => Err(Some("it is not UTF-8".to_owned())),
        })
    }

    /// A rule for values that need not be UTF-8, such as file names.
    pub(super) fn for_os_str(
        allowed: impl Into<String>,
        parse: impl Fn(&OsStr) -> Result<T, Hint> + Send + Sync + 'static,
    ) -> Self {
        Self { allowed: allowed.into(), secret: false, parse: Arc::new(parse) }
    }

    /// Marks the value as one that may hold a secret.
    pub(super) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Adds a condition that involves other settings. [`super`] checks it.
    pub(crate) fn and(self, condition: &str) -> Self {
        Self { allowed: format!("{}; {condition}", self.allowed), ..self }
    }
}

impl Rule<String> {
    /// A rule for text that is used as it is.
    pub(super) fn matching(
        allowed: impl Into<String>,
        is_allowed: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::new(allowed, move |text| is_allowed(text).then(|| text.to_owned()).ok_or(None))
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Rule<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(&self, _: &Command, arg: Option<&Arg>, value: &OsStr, source: ValueSource) -> Result<T, Error> {
        (self.parse)(value).map_err(|hint| {
            let flag = arg.map(flag_name).unwrap_or_default();
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let bad = BadSetting::new(&flag, format!("use {}{hint}", self.allowed));
            let bad = if self.secret { bad } else { bad.given(&value.to_string_lossy()) };
            Error::raw(ErrorKind::ValueValidation, bad.set_by_variable(source == ValueSource::EnvVariable))
        })
    }

    /// One hidden entry whose help is what the rule allows. A parser inside an [`Arg`] has no other method that returns
    /// data; [`allowed`] reads it back.
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(std::iter::once(PossibleValue::new("").hide(true).help(self.allowed.clone()))))
    }
}

/// What the [`Rule`] of this flag allows; `None` if the flag takes no value.
pub fn allowed(arg: &Arg) -> Option<String> {
    let entry = arg.get_value_parser().possible_values()?.find(PossibleValue::is_hide_set)?;
    Some(entry.get_help()?.to_string())
}

/// The name of a flag with its two hyphens; the name of the value for a positional argument.
pub fn flag_name(arg: &Arg) -> String {
    let value_name = || arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    arg.get_long().map(|long| format!("--{long}")).or_else(value_name).unwrap_or_default()
}
