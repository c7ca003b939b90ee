//! Readers of flag values. Each error says what is allowed; none repeats the value (the caller names the flag).

use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;

/// A while like `500ms`, `90s` or `1h30m`. A bare number is refused: nobody knows of what.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write a duration with its unit, like 500ms, 90s or 1h30m";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!("{FORM}; did you mean {text}s?"));
    }
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'm' | b's' | b'h' | b'd');
    if !text.bytes().all(allowed) {
        return Err(FORM.to_owned());
    }
    let signed: SignedDuration = text.parse().map_err(|_| FORM.to_owned())?;
    Duration::try_from(signed).map_err(|_| FORM.to_owned())
}

/// A share from 0 to 1.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "write a number from 0 to 1".to_owned())?;
    (0.0..=1.0).contains(&share).then_some(share).ok_or_else(|| "write a number from 0 to 1".to_owned())
}

/// A number of bytes like `128Mi`, `1Gi` or `65536`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    const FORM: &str = "write a size from 1Ki to 16Gi, like 128Mi";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(FORM.to_owned()),
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    let size = size.filter(|size| (1 << 10..=16 << 30).contains(size)).ok_or_else(|| FORM.to_owned())?;
    usize::try_from(size).map_err(|_| FORM.to_owned())
}

/// An address to listen on: `:8080`, `127.0.0.1:8080`, `[::1]:8080`; `0` is none.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    if text == "0" {
        return Ok(Listen(None));
    }
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let address =
        full.parse().map_err(|_| "write an address like :8080 or 127.0.0.1:8080, or 0 for none".to_owned())?;
    Ok(Listen(Some(address)))
}

/// Where to listen, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("500ms", 500), ("90s", 90_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("0", 0), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["60", "-5s", "", "s", "5x", "5 s", "1h-5m", "99999999999999999999s", "5s ago", "P1D"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert!(duration("60").unwrap_err().contains("did you mean 60s?"));
    }

    #[test]
    fn shares_lie_between_nothing_and_all() {
        assert_eq!(fraction("0.2"), Ok(0.2));
        for text in ["-0.1", "1.01", "NaN", "inf", "20%", ""] {
            assert!(fraction(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(bytes("128Mi"), Ok(128 << 20));
        for text in ["0", "1", "128MB", "-1", "99999999999Gi", "17Gi", "Mi"] {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_may_leave_out_the_host() {
        assert_eq!(listen(":8080"), Ok(Listen(Some(([0, 0, 0, 0], 8080).into()))));
        assert_eq!(listen("0"), Ok(Listen(None)));
        for text in ["8080", ":", ":99999", "localhost:80", "http://h"] {
            assert!(listen(text).is_err(), "{text:?}");
        }
    }
}
