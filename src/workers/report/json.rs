//! JSON values at the start of a text that may end anywhere, read with `serde_json`. Pure.
//!
//! In: text. Out: values that borrow from it, or that the text ends too early, or that this is not JSON.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ReportError;

/// The length of the blanks at the start of a text.
pub(super) fn blanks(text: &str) -> usize {
    text.bytes().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count()
}

/// Why reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The text ends before the value does.
    Incomplete,
    NotJson,
    Refused(ReportError),
}

impl From<ReportError> for Stop {
    fn from(error: ReportError) -> Self {
        Self::Refused(error)
    }
}

/// A position in a text.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes read so far.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is not blank. It is not taken.
    pub fn peek(&mut self) -> Result<u8, Stop> {
        self.at += blanks(&self.text[self.at..]);
        self.text.as_bytes().get(self.at).copied().ok_or(Stop::Incomplete)
    }

    /// Takes this byte, after blanks, if it is the next one.
    pub fn take_if(&mut self, wanted: u8) -> Result<bool, Stop> {
        let found = self.peek()? == wanted;
        self.at += usize::from(found);
        Ok(found)
    }

    fn take(&mut self, wanted: u8) -> Result<(), Stop> {
        if self.take_if(wanted)? { Ok(()) } else { Err(Stop::NotJson) }
    }

    /// Moves to the next item of an array or object: past the comma, unless it is the `first`. `false` if the array or
    /// object ends here; its `close` is taken.
    pub fn next_item(&mut self, first: bool, close: u8) -> Result<bool, Stop> {
        if self.take_if(close)? {
            return Ok(false);
        }
        if !first {
            self.take(b',')?;
            // No comma before the end.
            if self.peek()? == close {
                return Err(Stop::NotJson);
            }
        }
        Ok(true)
    }

    /// The name of a field, and its colon. Empty if its escapes are not Unicode.
    pub fn key(&mut self) -> Result<Cow<'a, str>, Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::NotJson);
        }
        let key = self.value::<&RawValue>()?;
        self.take(b':')?;
        Ok(string(key.get()).unwrap_or_default())
    }

    /// The next value.
    pub fn value<T: Deserialize<'a>>(&mut self) -> Result<T, Stop> {
        let rest = &self.text[self.at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        let value = values.next();
        let length = values.byte_offset();
        // A number at the end of the text may continue in the next piece, and serde_json calls half a number a syntax
        // error.
        let may_continue =
            || rest.ends_with(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-', '+', '.', 'e', 'E']);
        match value {
            Some(Ok(value)) if length < rest.len() || !may_continue() => {
                self.at += length;
                Ok(value)
            }
            Some(Err(error)) if !error.is_eof() && !may_continue() => Err(Stop::NotJson),
            _ => Err(Stop::Incomplete),
        }
    }

    /// The next value, if the whole of it is here and it has this type. For objects and arrays only.
    pub fn value_if<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }
}

/// The string that this JSON value is; `None` if it is another value, or its escapes are not Unicode.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}
