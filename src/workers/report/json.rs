//! JSON on a piece of a text that may end anywhere. Pure.
//!
//! In: bytes that are UTF-8. Out: tokens that point into them, or that the piece ends too early ([`Halt::More`]), or that this is no
//! JSON ([`Halt::Bad`]). It knows nothing of reports, holds nothing, and decodes nothing that nobody asks for.

use std::borrow::Cow;

use super::skip::Skip;

/// Why a token could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The piece ends before the token does.
    More,
    /// This is no JSON.
    Bad,
}

/// A token, or why there is none.
pub(super) type Step<T> = Result<T, Halt>;

/// A value, as far as reports care.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Null,
    /// By the grammar of JSON; may be too large for a float.
    Number(&'a str),
    Text(Text<'a>),
    /// true, false, an object or a list.
    Other,
}

/// A string with its quotes, not decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    quoted: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The bytes between the quotes, if they stand for themselves.
    pub fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then(|| &self.quoted[1..self.quoted.len() - 1])
    }

    /// What it says; `None` if its escapes are no Unicode.
    pub fn decode(self) -> Option<Cow<'a, str>> {
        match self.plain() {
            Some(plain) => std::str::from_utf8(plain).ok().map(Cow::Borrowed),
            None => serde_json::from_slice(self.quoted).ok().map(Cow::Owned),
        }
    }
}

/// A place in a piece of text.
pub(super) struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// How far it has come.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// The next byte after blanks, which stay behind.
    pub fn peek(&mut self) -> Step<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                _ => return Ok(byte),
            }
        }
        Err(Halt::More)
    }

    /// Takes this byte, after blanks.
    pub fn take(&mut self, wanted: u8) -> Step<()> {
        if self.peek()? != wanted {
            return Err(Halt::Bad);
        }
        self.at += 1;
        Ok(())
    }

    /// Goes to the next item of a list or object, over the comma if it is not the `first`; `false` if it ends here with
    /// `close`, which is taken.
    pub fn item(&mut self, first: bool, close: u8) -> Step<bool> {
        let byte = self.peek()?;
        if byte == close {
            self.at += 1;
            return Ok(false);
        }
        if !first {
            self.take(b',')?;
            // What follows a comma must be an item.
            if self.peek()? == close {
                return Err(Halt::Bad);
            }
        }
        Ok(true)
    }

    /// The name of a field and its colon.
    pub fn key(&mut self) -> Step<Text<'a>> {
        if self.peek()? != b'"' {
            return Err(Halt::Bad);
        }
        let key = self.text()?;
        self.take(b':')?;
        Ok(key)
    }

    /// A value, whatever it is.
    pub fn value(&mut self) -> Step<Raw<'a>> {
        match self.peek()? {
            b'"' => self.text().map(Raw::Text),
            b'-' | b'0'..=b'9' => self.number().map(Raw::Number),
            b'n' => self.literal(b"null").map(|()| Raw::Null),
            b't' => self.literal(b"true").map(|()| Raw::Other),
            b'f' => self.literal(b"false").map(|()| Raw::Other),
            b'{' | b'[' => {
                let (taken, whole) = Skip::value().feed(&self.text[self.at..]).map_err(|_| Halt::Bad)?;
                self.at += taken;
                if whole { Ok(Raw::Other) } else { Err(Halt::More) }
            }
            _ => Err(Halt::Bad),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Step<()> {
        let rest = &self.text[self.at..];
        let there = rest.len().min(word.len());
        if rest[..there] != word[..there] {
            return Err(Halt::Bad);
        }
        self.at += there;
        if there == word.len() { Ok(()) } else { Err(Halt::More) }
    }

    /// A string, from its opening quote.
    fn text(&mut self) -> Step<Text<'a>> {
        let begin = self.at;
        let mut escaped = false;
        let mut at = begin + 1;
        loop {
            let rest = self.text.get(at..).ok_or(Halt::More)?;
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
                return Err(if controls(rest) { Halt::Bad } else { Halt::More });
            };
            if controls(&rest[..length]) {
                return Err(Halt::Bad);
            }
            at += length + 1;
            if rest[length] == b'"' {
                self.at = at;
                return Ok(Text { quoted: &self.text[begin..at], escaped });
            }
            escaped = true;
            at += escape(&self.text[at..])?;
        }
    }

    /// A number, which ends where something else begins.
    fn number(&mut self) -> Step<&'a str> {
        let rest = &self.text[self.at..];
        let digits = |from: usize| from + rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let begin = usize::from(rest[0] == b'-');
        let mut end = digits(begin);
        let whole = end - begin;
        let mut good = whole == 1 || (whole > 1 && rest[begin] != b'0');
        if rest.get(end) == Some(&b'.') {
            let point = end;
            end = digits(point + 1);
            good &= end > point + 1;
        }
        if matches!(rest.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
            let exponent = end + 1 + sign;
            end = digits(exponent.min(rest.len()));
            good &= end > exponent;
        }
        if end >= rest.len() {
            return Err(Halt::More);
        }
        self.at += end;
        // Digits, points and signs are ASCII.
        if good { std::str::from_utf8(&rest[..end]).map_err(|_| Halt::Bad) } else { Err(Halt::Bad) }
    }
}

/// Whether bytes stand in a string that must be escaped there.
pub(super) fn controls(bytes: &[u8]) -> bool {
    // Not `any`, which would look at one byte at a time.
    bytes.iter().fold(0, |found, byte| found | u8::from(*byte < 0x20)) > 0
}

/// How long an escape is, after its backslash.
fn escape(rest: &[u8]) -> Step<usize> {
    match rest.first().ok_or(Halt::More)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(1),
        b'u' => {
            let digits = &rest[1..rest.len().min(5)];
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(Halt::Bad);
            }
            if digits.len() == 4 { Ok(5) } else { Err(Halt::More) }
        }
        _ => Err(Halt::Bad),
    }
}
