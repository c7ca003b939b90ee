//! The rules for values: durations, numbers, names, addresses. The rules that know other rooms are in [`super::parts`].

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use jiff::SignedDuration;

use super::rule::{Hint, Rule};

/// A while like `500ms`, `90s` or `1h30m`. A bare number is refused: nobody knows of what.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> Rule<Duration> {
    let allowed = format!("a duration from {} to {}", written(*range.start()), written(*range.end()));
    Rule::of(allowed, move |text| {
        read_duration(text).and_then(|found| range.contains(&found).then_some(found).ok_or(None))
    })
}

/// The same, or nothing at all, which means `zero`.
pub(super) fn duration_or_zero(zero: &str, range: RangeInclusive<Duration>) -> Rule<Duration> {
    let (from, to) = (written(*range.start()), written(*range.end()));
    Rule::of(format!("0s ({zero}) or a duration from {from} to {to}"), move |text| {
        let found = read_duration(text)?;
        (found.is_zero() || range.contains(&found)).then_some(found).ok_or(None)
    })
}

/// The same in whole seconds, which is what a Lease keeps.
pub(super) fn seconds(range: RangeInclusive<Duration>) -> Rule<Duration> {
    let allowed = format!("whole seconds from {} to {}", written(*range.start()), written(*range.end()));
    Rule::of(allowed, move |text| {
        let found = read_duration(text)?;
        (range.contains(&found) && found.subsec_nanos() == 0).then_some(found).ok_or(None)
    })
}

fn read_duration(text: &str) -> Result<Duration, Hint> {
    const FORM: &str = "write it with its unit, like 500ms, 90s or 1h30m";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.len() < 20 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(Some(format!("{FORM}; did you mean {text}s?")));
    }
    let form = || Some(FORM.to_owned());
    if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'm' | b's' | b'h')) {
        return Err(form());
    }
    let signed: SignedDuration = text.parse().map_err(|_| form())?;
    Duration::try_from(signed).map_err(|_| form())
}

/// A duration as the flags take it.
#[must_use]
pub(super) fn written(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"), (u64::from(millis), "ms")];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts.map(|(number, unit)| format!("{number}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

/// A whole number.
pub(super) fn whole<T>(range: RangeInclusive<usize>) -> Rule<T>
where
    T: TryFrom<usize> + Clone + Send + Sync + 'static,
{
    Rule::of(format!("a whole number from {} to {}", range.start(), range.end()), move |text| {
        let number = text.parse::<usize>().ok().filter(|number| range.contains(number)).ok_or(None)?;
        T::try_from(number).map_err(|_| None)
    })
}

/// A share.
pub(super) fn fraction() -> Rule<f64> {
    Rule::of("a number from 0 to 1", |text| {
        let share: f64 = text.parse().map_err(|_| None)?;
        (0.0..=1.0).contains(&share).then_some(share).ok_or(None)
    })
}

/// A number of bytes like `128Mi`, `1Gi` or `65536`.
pub(super) fn bytes() -> Rule<usize> {
    Rule::of("a size from 1Ki to 16Gi, like 128Mi", |text| {
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

/// An address to listen on: `:8080`, `127.0.0.1:8080`, `[::1]:8080`; `0` is none.
pub(super) fn listen() -> Rule<Listen> {
    Rule::of("an address like :8080, 127.0.0.1:8080 or [::1]:8080 with a port up to 65535, or 0 for none", |text| {
        if text == "0" {
            return Ok(Listen(None));
        }
        let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
        full.parse().map(|address| Listen(Some(address))).map_err(|_| None)
    })
}

/// Where to listen, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl Listen {
    /// Whether one of the two would find the port taken by the other. Port 0 is any free one.
    pub(super) fn collides(self, other: Self) -> bool {
        let (Some(one), Some(other)) = (self.0, other.0) else { return false };
        // [::] takes IPv4 too, unless the system says otherwise.
        let covers = |a: IpAddr, b: IpAddr| a == b || a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
        let (ip, other_ip) = (one.ip(), other.ip());
        one.port() != 0 && one.port() == other.port() && (covers(ip, other_ip) || covers(other_ip, ip))
    }
}

/// One of the spellings of an enumeration.
pub(crate) fn choice<T: ValueEnum + Send + Sync + 'static>() -> Rule<T> {
    let names: Vec<String> =
        T::value_variants().iter().filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned())).collect();
    Rule::of(names.join(" or "), |text| T::from_str(text, false).map_err(|_| None))
}

/// The path of a file, which may come into being later: a Secret is mounted when it is there.
pub(crate) fn file() -> Rule<PathBuf> {
    Rule::of_any("a path of at most 4095 bytes", |path| {
        (1..=4095).contains(&path.len()).then(|| PathBuf::from(path)).ok_or(None)
    })
}

/// The name of a namespace: a DNS label.
pub(crate) fn namespace() -> Rule<String> {
    Rule::of("the name of a namespace: 1 to 63 lower-case letters, digits and inner '-'", |text| {
        (text.len() <= 63 && is_label(text)).then(|| text.to_owned()).ok_or(None)
    })
}

/// The name of an object that is used with a suffix: a DNS name, 13 shorter than the longest.
pub(crate) fn object_name() -> Rule<String> {
    Rule::of("a name of 1 to 240 lower-case letters, digits, and '-' and '.' between them", |text| {
        (text.len() <= 240 && text.split('.').all(is_label)).then(|| text.to_owned()).ok_or(None)
    })
}

/// The name of a context in a kubeconfig, which may be nearly anything.
pub(crate) fn context() -> Rule<String> {
    Rule::of("1 to 300 characters, none of them a control character", |text| {
        let fits = (1..=300).contains(&text.chars().count()) && !text.contains(char::is_control);
        fits.then(|| text.to_owned()).ok_or(None)
    })
}

/// An object by `namespace/name`, or by its name alone.
pub(crate) fn object() -> Rule<(Option<String>, String)> {
    Rule::of("NAMESPACE/NAME, or a NAME beside --namespace or the namespace of the kubeconfig's context", |text| {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let namespace_fits = namespace.is_none_or(|label| label.len() <= 63 && is_label(label));
        let fits = namespace_fits && name.len() <= 253 && name.split('.').all(is_label);
        fits.then(|| (namespace.map(str::to_owned), name.to_owned())).ok_or(None)
    })
}

fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("500ms", 500), ("90s", 90_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("0", 0), ("0s", 0)]
        {
            assert_eq!(read_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["60", "-5s", "", "s", "5x", "5 s", "1h-5m", "99999999999999999999s", "5s ago", "P1D", "1d", "1us"]
        {
            assert!(read_duration(text).is_err(), "{text:?}");
        }
        assert!(read_duration("60").unwrap_err().unwrap().contains("did you mean 60s?"));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "1ms", "500ms", "1s500ms", "1m30s", "24h", "1h30m", "8760h"] {
            assert_eq!(written(read_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn listeners_collide_where_the_system_would_say_so() {
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
    fn names_are_those_of_the_api_server() {
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
