//! Passing over JSON that nobody asked for, however long it is. Pure.
//!
//! In: pieces of UTF-8 text, cut anywhere. Out: where the value ends, or that it is no JSON. It keeps a bit for each level of nesting and nothing of
//! the text, so that a hundred megabytes in an unknown field cost time alone.

/// Levels of nesting; more are refused as no JSON of ours.
const DEEPEST: usize = 1 << 16;

/// What encloses a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Object,
    List,
}

/// This is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoJson;

/// A place in a value that is passed over.
#[derive(Debug)]
pub(super) struct Skip {
    levels: Vec<Level>,
    next: Next,
}

/// What must come next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Value,
    /// The comma before a value.
    Lead,
    /// The first item of a list, or its end.
    FirstItem,
    /// The first field of an object, or its end.
    FirstKey,
    Key,
    Colon,
    /// A comma, or the end of what encloses this.
    Comma,
    Text(Quoted),
    Number(Digits),
    Word(&'static [u8]),
}

/// Inside of a string.
#[derive(Clone, Copy, Debug)]
struct Quoted {
    key: bool,
    escape: Escape,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    No,
    Begun,
    /// So many hexadecimal digits are missing.
    Hex(u8),
}

/// The last part of a number that was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Digits {
    /// What follows; `Ok(None)` if the number has ended before this byte.
    const fn next(self, byte: u8) -> Result<Option<Self>, NoJson> {
        Ok(Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            (Self::Zero | Self::Whole | Self::Fraction | Self::Exponent, _) => return Ok(None),
            _ => return Err(NoJson),
        }))
    }
}

impl Skip {
    /// Over one value.
    pub const fn value() -> Self {
        Self { levels: Vec::new(), next: Next::Value }
    }

    /// Over a value, and then all that is left of what encloses it, outermost first.
    pub fn value_and_rest_of(levels: &[Level]) -> Self {
        Self { levels: levels.to_vec(), next: Next::Value }
    }

    /// Over one item of a list, with the comma before it if it is not the `first`.
    pub const fn item(first: bool) -> Self {
        Self { levels: Vec::new(), next: if first { Next::Value } else { Next::Lead } }
    }

    /// Over all that is left of what encloses a place between two items, or before the `first` one.
    pub fn rest_of(levels: &[Level], first: bool) -> Self {
        let next = match (first, levels.last()) {
            (true, Some(Level::Object)) => Next::FirstKey,
            (true, Some(Level::List)) => Next::FirstItem,
            (false, _) | (_, None) => Next::Comma,
        };
        Self { levels: levels.to_vec(), next }
    }

    /// Goes over a piece: how much of it was taken, and whether the end was in it.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(usize, bool), NoJson> {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if let Next::Text(Quoted { key, escape: Escape::No }) = self.next {
                let rest = &piece[at..];
                let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if controls(&rest[..plain]) {
                    return Err(NoJson);
                }
                at += plain;
                match piece.get(at) {
                    None => break,
                    Some(b'\\') => self.next = Next::Text(Quoted { key, escape: Escape::Begun }),
                    Some(_) if key => self.next = Next::Colon,
                    Some(_) => self.ended(),
                }
                at += 1;
            } else if self.step(byte)? {
                at += 1;
            }
            if self.levels.is_empty() && matches!(self.next, Next::Comma) {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Takes one byte; `false` if it is not part of the number before it and has to be looked at again.
    fn step(&mut self, byte: u8) -> Result<bool, NoJson> {
        let blank = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        match self.next {
            Next::Value | Next::Lead | Next::FirstItem | Next::FirstKey | Next::Key | Next::Colon | Next::Comma
                if blank => {}
            Next::Lead if byte == b',' => self.next = Next::Value,
            Next::FirstItem if byte == b']' => self.close(Level::List)?,
            Next::FirstKey if byte == b'}' => self.close(Level::Object)?,
            Next::Value | Next::FirstItem => self.begin(byte)?,
            Next::FirstKey | Next::Key if byte == b'"' => self.next = text(true),
            Next::Colon if byte == b':' => self.next = Next::Value,
            Next::Comma => match (byte, self.levels.last()) {
                (b',', Some(Level::Object)) => self.next = Next::Key,
                (b',', Some(Level::List)) => self.next = Next::Value,
                (b'}', _) => self.close(Level::Object)?,
                (b']', _) => self.close(Level::List)?,
                _ => return Err(NoJson),
            },
            Next::Text(Quoted { key, escape }) => {
                let escape = match (escape, byte) {
                    (Escape::Begun, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::No,
                    (Escape::Begun, b'u') => Escape::Hex(4),
                    (Escape::Hex(1), _) if byte.is_ascii_hexdigit() => Escape::No,
                    (Escape::Hex(missing), _) if byte.is_ascii_hexdigit() => Escape::Hex(missing - 1),
                    _ => return Err(NoJson),
                };
                self.next = Next::Text(Quoted { key, escape });
            }
            Next::Number(digits) => {
                let Some(digits) = digits.next(byte)? else {
                    self.ended();
                    return Ok(false);
                };
                self.next = Next::Number(digits);
            }
            Next::Word(rest) => match rest.split_first() {
                Some((first, rest)) if *first == byte => {
                    self.next = Next::Word(rest);
                    if rest.is_empty() {
                        self.ended();
                    }
                }
                _ => return Err(NoJson),
            },
            Next::Lead | Next::FirstKey | Next::Key | Next::Colon => return Err(NoJson),
        }
        Ok(true)
    }

    fn begin(&mut self, byte: u8) -> Result<(), NoJson> {
        self.next = match byte {
            b'"' => text(false),
            b'{' => self.open(Level::Object, Next::FirstKey)?,
            b'[' => self.open(Level::List, Next::FirstItem)?,
            b'-' => Next::Number(Digits::Minus),
            b'0' => Next::Number(Digits::Zero),
            b'1'..=b'9' => Next::Number(Digits::Whole),
            b't' => Next::Word(b"rue"),
            b'f' => Next::Word(b"alse"),
            b'n' => Next::Word(b"ull"),
            _ => return Err(NoJson),
        };
        Ok(())
    }

    fn open(&mut self, level: Level, next: Next) -> Result<Next, NoJson> {
        if self.levels.len() >= DEEPEST {
            return Err(NoJson);
        }
        self.levels.push(level);
        Ok(next)
    }

    fn close(&mut self, level: Level) -> Result<(), NoJson> {
        if self.levels.pop() != Some(level) {
            return Err(NoJson);
        }
        self.ended();
        Ok(())
    }

    const fn ended(&mut self) {
        self.next = Next::Comma;
    }
}

/// Whether bytes stand in a string that must be escaped there.
pub(super) fn controls(bytes: &[u8]) -> bool {
    // Not `any`, which would look at one byte at a time.
    bytes.iter().fold(0, |found, byte| found | u8::from(*byte < 0x20)) > 0
}

const fn text(key: bool) -> Next {
    Next::Text(Quoted { key, escape: Escape::No })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether the whole of a text is one value, when it is fed in pieces of this size.
    fn is_value(text: &str, piece: usize) -> bool {
        let mut skip = Skip::value();
        // A blank shows where a number ends.
        let text = format!("{text} ");
        let mut at = 0;
        for piece in text.as_bytes().chunks(piece) {
            match skip.feed(piece) {
                Ok((taken, true)) => return text[at + taken..].trim().is_empty(),
                Ok((taken, false)) => at += taken,
                Err(NoJson) => return false,
            }
        }
        false
    }

    #[test]
    fn deep_nesting_costs_a_bounded_stack_and_too_deep_is_refused() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(is_value(&nested(DEEPEST), 100) && !is_value(&nested(DEEPEST + 1), 100));
    }

    #[test]
    fn the_rest_of_what_encloses_a_place_is_passed_over() {
        use Level::{List, Object};
        let left = |mut skip: Skip, text: &str| skip.feed(text.as_bytes()).map(|(taken, _)| text[taken..].to_owned());
        assert_eq!(left(Skip::rest_of(&[List, Object], false), r#","a":[1]},{"b":2}] tail"#), Ok(" tail".into()));
        assert_eq!(left(Skip::rest_of(&[Object], true), "} tail"), Ok(" tail".into()));
        assert_eq!(left(Skip::value_and_rest_of(&[List]), "7, 8] tail"), Ok(" tail".into()));
        assert_eq!(left(Skip::rest_of(&[Object], false), "]"), Err(NoJson));
    }

    proptest! {
        #[test]
        fn it_says_what_a_json_library_says(
            text in r#"[\[\]{}:," a0-9.eE+\-\\/untrfls\t]{0,24}"#, piece in 1_usize..9,
        ) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(is_value(&text, piece), theirs, "{:?}", text);
        }

        #[test]
        fn every_value_is_passed_over_to_its_end(value in any_json(), piece in 1_usize..9) {
            prop_assert!(is_value(&value.to_string(), piece), "{}", value);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert!(is_value(&pretty, piece));
            let text = format!("{value} ");
            for end in 0..text.trim_end().len() {
                if text.is_char_boundary(end) && !value.is_number() {
                    prop_assert!(!matches!(Skip::value().feed(&text.as_bytes()[..end]), Ok((_, true))), "{}", &text[..end]);
                }
            }
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e300_f64..1e300).prop_map(Into::into),
            ".{0,6}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
