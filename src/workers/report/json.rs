//! JSON on a piece of a text that may end anywhere. Pure.
//!
//! In: bytes that are UTF-8. Out: tokens that point into them, or that the piece ends too early ([`Halt::More`]), or that this is no
//! JSON ([`Halt::Bad`]). It knows nothing of reports, holds nothing, and decodes nothing that nobody asks for.

use std::borrow::Cow;

use super::number::{self, Figure};
use super::skip::{Skip, controls};

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

/// A value where a text belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Word<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    Text(Text<'a>),
    /// Something else.
    Wrong,
}

/// A string with its quotes, not decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    quoted: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// What it says, as UTF-8; `None` if its escapes are no Unicode.
    pub fn decode(self) -> Option<Cow<'a, [u8]>> {
        let Self { quoted, escaped } = self;
        if !escaped {
            return Some(Cow::Borrowed(&quoted[1..quoted.len() - 1]));
        }
        serde_json::from_slice::<String>(quoted).ok().map(|text| Cow::Owned(text.into_bytes()))
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

    /// Goes over blanks, if there are any.
    pub fn pass_blanks(&mut self) {
        self.peek().ok();
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

    /// The name of a field and its colon: what `field` makes of it.
    #[inline]
    pub fn key<F>(&mut self, field: impl Fn(&[u8]) -> Option<F>) -> Step<Option<F>> {
        if self.peek()? != b'"' {
            return Err(Halt::Bad);
        }
        let rest = &self.text[self.at + 1..];
        // Most names are short and end where they seem to; anything odd in one is left to the slower way.
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).ok_or(Halt::More)?;
        let found = if rest[end] == b'"' {
            self.at += end + 2;
            field(&rest[..end])
        } else {
            self.text()?.decode().and_then(|name| field(&name))
        };
        self.take(b':')?;
        Ok(found)
    }

    /// The same for names that are met again and again: `begun` tells the field from what follows the opening quote, and how long its
    /// name is. What it does not know is left to `field`.
    #[inline]
    pub fn usual_key<F>(
        &mut self,
        begun: impl Fn(&[u8]) -> Option<(F, usize)>,
        field: impl Fn(&[u8]) -> Option<F>,
    ) -> Step<Option<F>> {
        if self.peek()? == b'"'
            && let Some((found, length)) = begun(&self.text[self.at + 1..])
            && self.text.get(self.at + 1 + length) == Some(&b'"')
        {
            self.at += length + 2;
            self.take(b':')?;
            return Ok(Some(found));
        }
        self.key(field)
    }

    /// A value where a number belongs.
    #[inline]
    pub fn figure(&mut self) -> Step<Figure> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'n' => self.value().map(|()| Figure::Absent),
            _ => self.value().map(|()| Figure::Wrong),
        }
    }

    /// A value where a text belongs.
    #[inline]
    pub fn word(&mut self) -> Step<Word<'a>> {
        match self.peek()? {
            b'"' => self.text().map(Word::Text),
            b'n' => self.value().map(|()| Word::Absent),
            _ => self.value().map(|()| Word::Wrong),
        }
    }

    /// Goes over a value, whatever it is.
    pub fn value(&mut self) -> Step<()> {
        match self.peek()? {
            b'"' => self.text().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b'n' => self.literal(b"null"),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'{' | b'[' => {
                let (taken, whole) = Skip::value().feed(&self.text[self.at..]).map_err(|_| Halt::Bad)?;
                self.at += taken;
                if whole { Ok(()) } else { Err(Halt::More) }
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
    #[inline]
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

    #[inline]
    fn number(&mut self) -> Step<Figure> {
        let (figure, length) = number::read(&self.text[self.at..])?;
        self.at += length;
        Ok(figure)
    }
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
