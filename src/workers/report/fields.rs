//! The fields of a report and of its entries, each of which may stand there once, in any order. Pure.

use super::json::Word;
use super::number::Figure;
use super::row::{number, text};
use super::{LATEST_SECONDS, ReportError};
use crate::classify::Row;
use crate::model::WorkerId;

/// Rows are folded when they are so many, and then whenever they have doubled.
pub(super) const FOLD_AT: usize = 32_768;

/// The fields of the body that are ours.
#[derive(Clone, Copy)]
pub(super) enum BodyField {
    ApiVersion,
    Kind,
    GeneratedAt,
    ExpectedWorkers,
    Workers,
}

impl BodyField {
    pub const fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"apiVersion" => Self::ApiVersion,
            b"kind" => Self::Kind,
            b"generatedAt" => Self::GeneratedAt,
            b"expectedWorkers" => Self::ExpectedWorkers,
            b"workers" => Self::Workers,
            _ => return None,
        })
    }
}

/// The fields of an entry that are ours.
#[derive(Clone, Copy)]
pub(super) enum EntryField {
    Id,
    ObservedAt,
    Servers,
}

impl EntryField {
    pub const fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"id" => Self::Id,
            b"observedAt" => Self::ObservedAt,
            b"servers" => Self::Servers,
            _ => return None,
        })
    }
}

/// What the fields of the body said.
#[derive(Default)]
pub(super) struct Header {
    pub is_object: bool,
    /// Whether it is the one of the contract.
    pub api_version: Field<bool>,
    /// The same.
    pub kind: Field<bool>,
    pub generated_at: Field<f64>,
    pub expected_workers: Field<u64>,
    pub workers: Field<()>,
}

impl Header {
    /// `generatedAt` and `expectedWorkers` of a report that can be used. `fault`: what was found wrong behind the header. A
    /// report of another version is called that, whatever else is wrong with it.
    pub fn judge(self, fault: Option<ReportError>) -> Result<(f64, u64), ReportError> {
        let Self { is_object, api_version, kind, generated_at, expected_workers, workers } = self;
        let known = matches!((api_version, kind), (Field::Good(true), Field::Good(true)));
        let repeated = |field| matches!(field, Field::Bad(_));
        match fault {
            Some(fault) if known || !is_object => return Err(fault),
            _ if repeated(api_version) || repeated(kind) => return Err(misshapen("apiVersion")),
            _ if !known => return Err(ReportError::UnknownVersion),
            _ => {}
        }
        workers.required("workers")?;
        let expected_workers = match expected_workers {
            Field::Absent => 0,
            given => given.required("expectedWorkers")?,
        };
        Ok((generated_at.required("generatedAt")?, expected_workers))
    }
}

/// One field, which may stand there once.
#[derive(Clone, Copy, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Good(T),
    Bad(ReportError),
}

impl<T> Field<T> {
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Takes in a value; a second one makes it a bad field.
    pub fn set(&mut self, name: &'static str, value: Result<T, ReportError>) {
        *self = match (&self, value) {
            (Self::Absent, Ok(value)) => Self::Good(value),
            (Self::Absent, Err(error)) => Self::Bad(error),
            _ => Self::Bad(misshapen(name)),
        };
    }

    pub fn required(self, name: &'static str) -> Result<T, ReportError> {
        match self {
            Self::Good(value) => Ok(value),
            Self::Bad(error) => Err(error),
            Self::Absent => Err(misshapen(name)),
        }
    }
}

/// The fields of the entry that is being read.
#[derive(Default)]
pub(super) struct RawEntry {
    pub id: Field<WorkerId>,
    pub observed_at: Field<f64>,
    pub has_servers: bool,
    pub rows: Vec<Row>,
    /// When its rows are folded next.
    pub fold_at: usize,
}

/// The shape is wrong at this field.
pub(super) const fn misshapen(field: &'static str) -> ReportError {
    ReportError::Shape { field }
}

/// Whether a field says just this.
pub(super) fn says(value: Word<'_>, wanted: &str) -> bool {
    text(value).is_ok_and(|found| found.as_deref() == Some(wanted.as_bytes()))
}

/// A time that must be there.
pub(super) fn time(field: &'static str, value: Figure) -> Result<f64, ReportError> {
    match number(value) {
        Ok(Some(seconds)) if seconds > LATEST_SECONDS => Err(ReportError::TimesInMilliseconds),
        Ok(Some(seconds)) => Ok(seconds),
        Ok(None) | Err(_) => Err(misshapen(field)),
    }
}
