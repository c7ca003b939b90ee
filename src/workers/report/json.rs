//! JSON on a piece of a text that may end anywhere. Pure.
//!
//! In: bytes that are UTF-8. Out: tokens that point into them, or that the piece ends too early ([`Halt::More`]), or that this is no
//! JSON ([`Halt::Bad`]). It knows nothing of reports, holds nothing, and decodes nothing that nobody asks for.

use std::borrow::Cow;

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

/// A value where a number belongs. Small, so that it travels in registers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Figure {
    /// Not there, or null, because many serialisers write an absent value so.
    #[default]
    Absent,
    /// Digits alone.
    Whole(u64),
    /// Any other number; infinite if it is too large for a float.
    Number(f64),
    /// Something else.
    Wrong,
}

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

    /// A number, which ends where something else begins.
    #[inline]
    fn number(&mut self) -> Step<Figure> {
        let rest = &self.text[self.at..];
        let negative = rest[0] == b'-';
        let begin = usize::from(negative);
        let (mut end, mut mantissa) = digits(rest, begin, 0);
        let whole = end - begin;
        let mut good = whole == 1 || (whole > 1 && rest[begin] != b'0');
        let mut figures = whole;
        let mut decimals = 0;
        if rest.get(end) == Some(&b'.') {
            let point = end;
            (end, mantissa) = digits(rest, point + 1, mantissa);
            decimals = end - point - 1;
            figures += decimals;
            good &= decimals > 0;
        }
        let exponential = matches!(rest.get(end), Some(b'e' | b'E'));
        if exponential {
            let sign = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
            let exponent = (end + 1 + sign).min(rest.len());
            (end, _) = digits(rest, exponent, 0);
            good &= end > exponent;
        }
        if end >= rest.len() {
            return Err(Halt::More);
        }
        if !good {
            return Err(Halt::Bad);
        }
        self.at += end;
        if !exponential && !negative && decimals == 0 && figures <= EXACT_IN_U64 {
            return Ok(Figure::Whole(mantissa));
        }
        if !exponential && figures <= EXACT_IN_F64 {
            // Both sides are exact, so the quotient is the float nearest to what is written.
            #[expect(clippy::cast_precision_loss, reason = "fifteen figures are below 2^53")]
            let magnitude = mantissa as f64 / POWERS_OF_TEN[decimals];
            return Ok(Figure::Number(if negative { -magnitude } else { magnitude }));
        }
        // Digits, points and signs are ASCII, and a float is what they spell.
        let spelt = std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse().ok());
        spelt.map(Figure::Number).ok_or(Halt::Bad)
    }
}

/// As many figures as always fit.
const EXACT_IN_U64: usize = 19;
/// As many figures as a float holds exactly.
const EXACT_IN_F64: usize = 15;
const POWERS_OF_TEN: [f64; EXACT_IN_F64 + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Where the digits end that begin here, and the number so far with them behind it (wrapping, if they are too many).
fn digits(text: &[u8], from: usize, so_far: u64) -> (usize, u64) {
    let (mut at, mut number) = (from, so_far);
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk).copied().and_then(eight_digits) {
        number = number.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(digit @ b'0'..=b'9') = text.get(at) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    (at, number)
}

/// What eight digits say, if all of them are some: looked at and multiplied as one word, because a time has more of them than all else
/// in a row.
const fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let word = u64::from_le_bytes(text);
    // The second is for what follows `9`: six more make it leave the row of the digits.
    if word & HIGH != ZEROS || word.wrapping_add(0x0606_0606_0606_0606) & HIGH != ZEROS {
        return None;
    }
    let ones = word - ZEROS;
    let tens = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let hundreds = (tens * 100 + (tens >> 16)) & 0x0000_ffff_0000_ffff;
    Some((hundreds * 10_000 + (hundreds >> 32)) & 0xffff_ffff)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_bytes_are_a_number_just_if_all_are_digits(text in "[0-9]{8}|[0-9/:.]{8}", byte: u8, place in 0_usize..8) {
            let mut bytes: [u8; 8] = text.as_bytes().try_into().unwrap();
            for edited in [false, true] {
                if edited {
                    bytes[place] = byte;
                }
                let digits = bytes.iter().all(u8::is_ascii_digit);
                let number = digits.then(|| std::str::from_utf8(&bytes).unwrap().parse().unwrap());
                prop_assert_eq!(eight_digits(bytes), number);
            }
        }

        #[test]
        fn a_number_is_what_the_standard_library_reads(text in r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?") {
            let with_end = format!("{text},");
            let read = match Scan::new(with_end.as_bytes()).figure() {
                #[expect(clippy::cast_precision_loss, reason = "as a float is what it is compared with")]
                Ok(Figure::Whole(whole)) => whole as f64,
                Ok(Figure::Number(number)) => number,
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
    }
}
