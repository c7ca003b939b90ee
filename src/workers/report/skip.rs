//! Passes over JSON that is not needed, however long it is. Pure.
//!
//! In: pieces of text, cut anywhere. Out: where the value ends, or that it is not JSON. It stores one byte for each
//! level of nesting and none of the text, so a hundred megabytes in an unknown field cost time and no memory.

use serde::de::IgnoredAny;

use super::json::Stop;

/// Levels of nesting; deeper values are refused.
const DEEPEST: usize = 1 << 16;
/// The longest number or literal, with at most two digits in a row.
const LONGEST_SCALAR: usize = "-10.10e+10".len();

/// A position in a value that is passed over.
#[derive(Debug)]
pub(super) struct Skip {
    /// The closing bracket of each open array and object, outermost first.
    open: Vec<u8>,
    next: Next,
    /// The number or literal so far. Of digits in a row it has the first two, which decide whether it is well-formed.
    scalar: Vec<u8>,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Value,
    ValueOrEnd,
    /// The comma before a value.
    Comma,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// The rest of a string, which may be a key.
    String {
        key: bool,
    },
    Escape {
        key: bool,
    },
    /// So many hexadecimal digits of an escape.
    Hex {
        key: bool,
        digits: u8,
    },
    /// The rest of a number, or of `true`, `false` or `null`.
    Scalar,
}

impl Skip {
    /// Passes over one value.
    pub const fn value() -> Self {
        Self::new(Vec::new(), Next::Value)
    }

    /// Passes over one item of an array, with the comma before it unless it is the `first`.
    pub const fn item(first: bool) -> Self {
        Self::new(Vec::new(), if first { Next::Value } else { Next::Comma })
    }

    /// Passes over a value and the rest of the arrays and objects that it is in, given by their closing brackets,
    /// outermost first.
    pub fn value_and_rest(enclosing: &[u8]) -> Self {
        Self::new(enclosing.to_vec(), Next::Value)
    }

    /// Passes over the rest of these arrays and objects, from between two items or from before the `first`.
    pub fn rest(enclosing: &[u8], first: bool) -> Self {
        let next = match enclosing.last() {
            Some(b'}') if first => Next::KeyOrEnd,
            Some(_) if first => Next::ValueOrEnd,
            _ => Next::CommaOrEnd,
        };
        Self::new(enclosing.to_vec(), next)
    }

    const fn new(open: Vec<u8>, next: Next) -> Self {
        Self { open, next, scalar: Vec::new() }
    }

    /// Passes over a piece. How much of it was taken, and whether the end is in it.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(usize, bool), Stop> {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if let Next::String { key } = self.next {
                let rest = &piece[at..];
                let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if rest[..plain].iter().filter(|byte| **byte < b' ').count() > 0 {
                    return Err(Stop::NotJson);
                }
                at += plain;
                match piece.get(at) {
                    None => break,
                    Some(b'\\') => self.next = Next::Escape { key },
                    Some(_) => self.next = if key { Next::Colon } else { Next::CommaOrEnd },
                }
                at += 1;
            } else if self.step(byte)? {
                at += 1;
            }
            if self.open.is_empty() && self.next == Next::CommaOrEnd {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Takes one byte; `false` if the number or literal before it has ended and the byte is to be looked at again.
    fn step(&mut self, byte: u8) -> Result<bool, Stop> {
        use Next::{Colon, Comma, CommaOrEnd, Escape, Hex, Key, KeyOrEnd, Scalar, String, Value, ValueOrEnd};
        self.next = match (self.next, byte) {
            (Scalar, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') => {
                let third_digit = byte.is_ascii_digit() && matches!(self.scalar[..], [.., b'0'..=b'9', b'0'..=b'9']);
                if !third_digit && self.scalar.len() == LONGEST_SCALAR {
                    return Err(Stop::NotJson);
                }
                self.scalar.extend((!third_digit).then_some(byte));
                Scalar
            }
            (Scalar, _) => {
                serde_json::from_slice::<IgnoredAny>(&self.scalar).map_err(|_| Stop::NotJson)?;
                self.scalar.clear();
                self.next = CommaOrEnd;
                return Ok(false);
            }
            (Escape { key }, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => String { key },
            (Escape { key }, b'u') => Hex { key, digits: 4 },
            (Hex { key, digits: 1 }, _) if byte.is_ascii_hexdigit() => String { key },
            (Hex { key, digits }, _) if byte.is_ascii_hexdigit() => Hex { key, digits: digits - 1 },
            (Escape { .. } | Hex { .. }, _) => return Err(Stop::NotJson),
            (_, b' ' | b'\n' | b'\r' | b'\t') => self.next,
            (Value | ValueOrEnd, b'"') => String { key: false },
            (Value | ValueOrEnd, b'{') => self.nest(b'}', KeyOrEnd)?,
            (Value | ValueOrEnd, b'[') => self.nest(b']', ValueOrEnd)?,
            (Value | ValueOrEnd, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.scalar.push(byte);
                Scalar
            }
            (Key | KeyOrEnd, b'"') => String { key: true },
            (CommaOrEnd, b',') if self.open.last() == Some(&b'}') => Key,
            (Colon, b':') | (Comma | CommaOrEnd, b',') => Value,
            (ValueOrEnd | CommaOrEnd, b']') | (KeyOrEnd | CommaOrEnd, b'}') if self.open.pop() == Some(byte) => {
                CommaOrEnd
            }
            _ => return Err(Stop::NotJson),
        };
        Ok(true)
    }

    fn nest(&mut self, close: u8, next: Next) -> Result<Next, Stop> {
        if self.open.len() >= DEEPEST {
            return Err(Stop::NotJson);
        }
        self.open.push(close);
        Ok(next)
    }
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
                Err(_) => return false,
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
    fn the_rest_of_the_enclosing_arrays_and_objects_is_passed_over() {
        let left = |mut skip: Skip, text: &str| skip.feed(text.as_bytes()).map(|(taken, _)| text[taken..].to_owned());
        assert_eq!(left(Skip::rest(b"]}", false), r#","a":[1]},{"b":2}] tail"#), Ok(" tail".into()));
        assert_eq!(left(Skip::rest(b"}", true), "} tail"), Ok(" tail".into()));
        assert_eq!(left(Skip::value_and_rest(b"]"), "7, 8] tail"), Ok(" tail".into()));
        assert_eq!(left(Skip::rest(b"}", false), "]"), Err(Stop::NotJson));
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
                    let ended = matches!(Skip::value().feed(&text.as_bytes()[..end]), Ok((_, true)));
                    prop_assert!(!ended, "{}", &text[..end]);
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
