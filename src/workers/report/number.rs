//! Numbers of JSON, as they stand in a text. Pure.
//!
//! In: bytes that begin with a digit or a minus. Out: what they say, and how many they are. A report is a third numbers, so they are
//! read in one pass, and to the bit as the standard library reads them (a test says so).

use super::json::{Halt, Step};

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

/// A number at the beginning of a text, which ends where something else begins, and how long it is.
#[inline]
pub(super) fn read(rest: &[u8]) -> Step<(Figure, usize)> {
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
    if !exponential && !negative && decimals == 0 && figures <= EXACT_IN_U64 {
        return Ok((Figure::Whole(mantissa), end));
    }
    if !exponential && figures <= EXACT_IN_F64 {
        // Both sides are exact, so the quotient is the float nearest to what is written.
        #[expect(clippy::cast_precision_loss, reason = "fifteen figures are below 2^53")]
        let magnitude = mantissa as f64 / POWERS_OF_TEN[decimals];
        return Ok((Figure::Number(if negative { -magnitude } else { magnitude }), end));
    }
    // Digits, points and signs are ASCII, and a float is what they spell.
    let spelt = std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse().ok());
    spelt.map(|number| (Figure::Number(number), end)).ok_or(Halt::Bad)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::Scan;
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
