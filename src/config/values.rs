//! Rules for durations, numbers, names, addresses and files.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use jiff::fmt::friendly::{Spacing, SpanParser, SpanPrinter};

use super::rule::{Hint, Rule};
use crate::plan::Budget;

/// A duration with a unit, such as `500ms`, `90s` or `1h30m`.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> Rule<Duration> {
    duration_rule(format!("a duration {}", bounds(&range)), move |duration| range.contains(&duration))
}

/// A duration, or 0, which means `zero`.
pub(super) fn duration_or_zero(zero: &str, range: RangeInclusive<Duration>) -> Rule<Duration> {
    let allowed = format!("0s ({zero}) or a duration {}", bounds(&range));
    duration_rule(allowed, move |duration| duration.is_zero() || range.contains(&duration))
}

/// A duration in whole seconds, as a Lease stores it.
pub(super) fn seconds(range: RangeInclusive<Duration>) -> Rule<Duration> {
    let allowed = format!("whole seconds {}", bounds(&range));
    duration_rule(allowed, move |duration| range.contains(&duration) && duration.subsec_nanos() == 0)
}

fn bounds(range: &RangeInclusive<Duration>) -> String {
    format!("from {} to {}", format_duration(*range.start()), format_duration(*range.end()))
}

fn duration_rule(allowed: String, is_allowed: impl Fn(Duration) -> bool + Send + Sync + 'static) -> Rule<Duration> {
    Rule::new(allowed, move |text| {
        parse_duration(text).and_then(|duration| is_allowed(duration).then_some(duration).ok_or(None))
    })
}

/// Reads hours to milliseconds. A number without a unit is refused: it could be seconds or milliseconds.
fn parse_duration(text: &str) -> Result<Duration, Hint> {
    const FORMAT: &str = "write it with a unit, such as 500ms, 90s or 1h30m";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let is_number = |b: u8| b.is_ascii_digit() || b == b'.';
    if !text.is_empty() && text.len() < 20 && text.bytes().all(is_number) {
        return Err(Some(format!("{FORMAT}; did you mean {text}s?")));
    }
    // The parser also reads days, microseconds and words.
    let has_our_units = text.bytes().all(|b| is_number(b) || matches!(b, b'm' | b's' | b'h'));
    let duration = SpanParser::new().parse_unsigned_duration(text).ok().filter(|_| has_our_units);
    duration.ok_or_else(|| Some(FORMAT.to_owned()))
}

/// A duration as the flags accept it, such as `1h30m`.
pub(crate) fn format_duration(duration: Duration) -> String {
    SpanPrinter::new().spacing(Spacing::None).unsigned_duration_to_string(&duration)
}

/// A whole number.
pub(crate) fn whole<T>(range: RangeInclusive<usize>) -> Rule<T>
where
    T: TryFrom<usize> + Clone + Send + Sync + 'static,
{
    Rule::new(format!("a whole number from {} to {}", range.start(), range.end()), move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number)).ok_or(None)?;
        T::try_from(number).map_err(|_| None)
    })
}

/// A share of a whole, from 0 to 1.
pub(super) fn fraction() -> Rule<f64> {
    Rule::new("a number from 0 to 1", |text| text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or(None))
}

/// The share of uniform polling that a plan may use.
pub(crate) fn budget() -> Rule<Budget> {
    Rule::new("a number above 0 and at most 1", |text| text.parse().ok().and_then(Budget::new).ok_or(None))
}

/// A number of percent.
pub(crate) fn percent() -> Rule<f64> {
    let range = 0.0..=1e6;
    Rule::new("a number from 0 to 1000000", move |text| {
        text.parse().ok().filter(|percent| range.contains(percent)).ok_or(None)
    })
}

/// A number of bytes, such as `128Mi`, `1Gi` or `65536`.
pub(crate) fn bytes() -> Rule<usize> {
    Rule::new("a size from 1Ki to 16Gi, such as 128Mi", |text| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale: u64 = match unit {
            "" => 1,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return Err(Some("the units are Ki, Mi and Gi".to_owned())),
        };
        let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        let size = size.filter(|size| (1 << 10..=16 << 30).contains(size)).ok_or(None)?;
        usize::try_from(size).map_err(|_| None)
    })
}

/// An address to listen on, such as `:8080`, `127.0.0.1:8080` or `[::1]:8080`; `0` for none. Without a host it is
/// `[::]`, which takes IPv4 and IPv6.
pub(super) fn listen() -> Rule<Listen> {
    let form =
        "an address such as :8080 (IPv4 and IPv6), 127.0.0.1:8080 or [::1]:8080 with a port up to 65535, or 0 for none";
    Rule::new(form, |text| {
        if text == "0" {
            return Ok(Listen(None));
        }
        let address = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
        address.parse().map(|address| Listen(Some(address))).map_err(|_| None)
    })
}

/// The address to listen on; `None` to serve nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Listen {
    /// Whether the two cannot be open at the same time. Port 0 stands for any free port.
    pub(super) fn collides(self, other: Self) -> bool {
        let (Some(one), Some(other)) = (self.0, other.0) else { return false };
        // [::] takes IPv4 too.
        let covers = |a: IpAddr, b: IpAddr| a == b || a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
        let (ip, other_ip) = (one.ip(), other.ip());
        one.port() != 0 && one.port() == other.port() && (covers(ip, other_ip) || covers(other_ip, ip))
    }
}

/// One of the names of an enumeration.
pub(crate) fn choice<T: ValueEnum + Send + Sync + 'static>() -> Rule<T> {
    let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
    Rule::new(names.join(" or "), |text| T::from_str(text, false).map_err(|_| None))
}

/// The path of a file. The file need not exist yet: a Secret may be mounted later.
pub(crate) fn file() -> Rule<PathBuf> {
    Rule::for_os_str("a path of at most 4095 bytes", |path| {
        (1..=4095).contains(&path.len()).then(|| PathBuf::from(path)).ok_or(None)
    })
}

/// The name of a namespace: a DNS label.
pub(crate) fn namespace() -> Rule<String> {
    Rule::matching("1 to 63 lower-case letters, digits and inner '-'", |text| text.len() <= 63 && is_label(text))
}

/// The name of an object. At most 240 characters, so that names with a suffix of up to 13 are valid, too.
pub(crate) fn object_name() -> Rule<String> {
    Rule::matching("1 to 240 lower-case letters, digits, and inner '-' and '.'", |text| {
        text.len() <= 240 && text.split('.').all(is_label)
    })
}

/// The name of a context in a kubeconfig.
pub(crate) fn context() -> Rule<String> {
    Rule::matching("1 to 300 characters without control characters", |text| {
        (1..=300).contains(&text.chars().count()) && !text.contains(char::is_control)
    })
}

/// The name of an object with or without its namespace.
pub(crate) fn object() -> Rule<(Option<String>, String)> {
    Rule::new("NAMESPACE/NAME or NAME", |text| {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let is_namespace = namespace.is_none_or(|label| label.len() <= 63 && is_label(label));
        let is_name = name.len() <= 253 && name.split('.').all(is_label);
        (is_namespace && is_name).then(|| (namespace.map(str::to_owned), name.to_owned())).ok_or(None)
    })
}

/// Whether this is a DNS label, apart from its length.
fn is_label(text: &str) -> bool {
    let is_label_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(is_label_byte) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("500ms", 500), ("90s", 90_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["60", "-5s", "", "s", "5x", "5 s", "1h-5m", "99999999999999999999s", "5s ago", "P1D", "1d", "1us"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        assert!(parse_duration("60").unwrap_err().unwrap().contains("did you mean 60s?"));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "1ms", "500ms", "1s500ms", "1m30s", "24h", "1h30m", "8760h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn listeners_collide_if_both_cannot_be_open() {
        let at = |text: &str| Listen(Some(text.parse().unwrap()));
        for (one, other, collide) in [
            ("0.0.0.0:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "[::1]:1", false),
            ("0.0.0.0:1", "0.0.0.0:2", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            assert_eq!(at(one).collides(at(other)), collide, "{one} {other}");
            assert_eq!(at(other).collides(at(one)), collide, "{other} {one}");
        }
        assert!(!at("0.0.0.0:1").collides(Listen(None)));
    }

    #[test]
    fn labels_are_those_of_the_api_server() {
        for (text, fits) in [
            ("a", true),
            ("0", true),
            ("a-b", true),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a.b", false),
            ("", false),
        ] {
            assert_eq!(is_label(text), fits, "{text:?}");
        }
    }
}
