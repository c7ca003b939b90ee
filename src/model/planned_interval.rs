//! The refresh interval of one server, and its form in Redis. Pure.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use super::UnixTime;

/// The refresh interval of a server, and the moment before which a refresh does not count, because one was requested or
/// the server was used then.
///
/// As a string: the value of the server's field in Redis (`docs/contract.md#redis-keys`), `SECONDS` or
/// `SECONDS,BEFORE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlannedInterval {
    /// In the lowest [`SECONDS_BITS`], the seconds: at least 1, and at most [`Self::LONGEST`]. Above them, the moment
    /// in Unix seconds, at most [`LAST_MOMENT`]; 0 for none. One number, because a large fleet has many.
    packed: NonZeroU64,
}

/// [`LONGEST_SECONDS`] fit in them.
const SECONDS_BITS: u32 = 22;

/// The latest moment that a value can hold, in Unix seconds: ten digits.
const LAST_MOMENT: u64 = 9_999_999_999;

impl PlannedInterval {
    /// The longest interval: 30 days.
    pub const LONGEST: Duration = Duration::from_secs(LONGEST_SECONDS as u64);
    /// The longest value, in bytes.
    pub const MAX_BYTES: usize = "2592000,9999999999".len();

    /// An interval in whole seconds, rounded down; less than a second counts as one, more than [`Self::LONGEST`] as
    /// that.
    pub fn new(interval: Duration) -> Self {
        let seconds = u32::try_from(interval.as_secs()).unwrap_or(LONGEST_SECONDS).min(LONGEST_SECONDS);
        Self::packed(NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN), 0)
    }

    fn packed(seconds: NonZeroU32, moment: u64) -> Self {
        Self { packed: NonZeroU64::from(seconds) | moment << SECONDS_BITS }
    }

    fn seconds(self) -> u64 {
        self.packed.get() & ((1 << SECONDS_BITS) - 1)
    }

    fn moment(self) -> Option<u64> {
        Some(self.packed.get() >> SECONDS_BITS).filter(|moment| *moment > 0)
    }

    /// An interval in whole seconds, rounded up; otherwise as [`Self::new`].
    pub fn rounded_up(interval: Duration) -> Self {
        let part = u64::from(interval.subsec_nanos() > 0);
        Self::new(Duration::from_secs(interval.as_secs().saturating_add(part)))
    }

    /// The same, and the server is due if it was last polled before `moment`, rounded up to a whole second.
    pub fn due_if_polled_before(self, moment: UnixTime) -> Self {
        let whole = u64::try_from(moment.rounded_up().whole_seconds()).unwrap_or(0);
        Self { packed: NonZeroU64::new(self.seconds() | whole.min(LAST_MOMENT) << SECONDS_BITS).unwrap_or(self.packed) }
    }

    /// The interval.
    pub fn interval(self) -> Duration {
        Duration::from_secs(self.seconds())
    }

    /// A poll before this moment does not count.
    pub fn polled_before(self) -> Option<UnixTime> {
        UnixTime::from_seconds(Duration::from_secs(self.moment()?).as_secs_f64())
    }

    /// Parses the value of a field. `None` for anything that [`fmt::Display`] does not print.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= Self::MAX_BYTES)?;
        let (seconds, before) = text.split_once(',').map_or((text, None), |(seconds, before)| (seconds, Some(before)));
        let seconds = number::<NonZeroU32>(seconds).filter(|seconds| seconds.get() <= LONGEST_SECONDS)?;
        let before = match before {
            None => 0,
            Some(text) => number::<NonZeroU64>(text).filter(|before| before.get() <= LAST_MOMENT)?.get(),
        };
        Some(Self::packed(seconds, before))
    }
}

/// [`PlannedInterval::LONGEST`].
const LONGEST_SECONDS: u32 = 30 * 86_400;

const _: () = assert!(LONGEST_SECONDS < 1 << SECONDS_BITS && LAST_MOMENT < 1 << (u64::BITS - SECONDS_BITS));

/// A decimal number without sign, blanks or leading zero.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for PlannedInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds())?;
        self.moment().map_or(Ok(()), |moment| write!(f, ",{moment}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn planned(seconds: u64) -> PlannedInterval {
        PlannedInterval::new(Duration::from_secs(seconds))
    }

    fn at(seconds: f64) -> UnixTime {
        UnixTime::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_value_is_the_seconds_and_perhaps_a_moment() {
        assert_eq!(planned(300).to_string(), "300");
        let asked = planned(14_400).due_if_polled_before(at(1_763_800_000.25));
        assert_eq!(asked.to_string(), "14400,1763800001", "a poll at 1763800000.1 does not count");
        assert_eq!(PlannedInterval::parse(b"14400,1763800001"), Some(asked));
        assert_eq!(asked.interval(), Duration::from_secs(14_400));
        assert_eq!(asked.polled_before(), Some(at(1_763_800_001.0)));
        assert_eq!(planned(300).due_if_polled_before(at(1_763_800_000.0)).to_string(), "300,1763800000");
        assert_eq!(planned(300).polled_before(), None);
    }

    #[test]
    fn what_is_out_of_range_becomes_the_nearest_value() {
        assert_eq!((planned(0).to_string(), planned(1).to_string()), ("1".into(), "1".into()));
        assert_eq!(PlannedInterval::new(Duration::from_millis(1_999)).to_string(), "1");
        let rounded_up = |interval| PlannedInterval::rounded_up(interval).to_string();
        assert_eq!([1_999, 2_000, 2_001].map(|ms| rounded_up(Duration::from_millis(ms))), ["2", "2", "3"]);
        assert_eq!(rounded_up(Duration::MAX), "2592000");
        assert_eq!(PlannedInterval::new(Duration::MAX).to_string(), "2592000");
        let asked = |seconds| planned(1).due_if_polled_before(at(seconds)).to_string();
        assert_eq!((asked(-5.0), asked(0.0), asked(1e300)), ("1".into(), "1".into(), "1,9999999999".into()));
        assert_eq!(asked(1e300).len() + "2592000".len() - 1, PlannedInterval::MAX_BYTES);
    }

    #[test]
    fn a_value_takes_eight_bytes() {
        assert_eq!(size_of::<Option<PlannedInterval>>(), 8);
        let longest = PlannedInterval::new(Duration::MAX).due_if_polled_before(at(1e300));
        assert_eq!(longest.to_string(), "2592000,9999999999");
        assert_eq!(PlannedInterval::parse(b"2592000,9999999999"), Some(longest));
    }

    #[test]
    fn anything_else_is_no_value() {
        for bad in [
            "",
            "0",
            "00",
            "01",
            "+1",
            "-1",
            "1 ",
            " 1",
            "1.0",
            "1e3",
            "0x10",
            "nan",
            "2592001",
            "4294967596",
            "1,",
            ",1",
            "1,0",
            "1,01",
            "1,+1",
            "1,-1",
            "1,1.5",
            "1, 1",
            "1,10000000000",
            "1,1,1",
            "1;1",
            "１",
            "1\n",
            "1\0",
        ] {
            assert_eq!(PlannedInterval::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(PlannedInterval::parse(b"\xff1"), None);
        assert_eq!(PlannedInterval::parse("1".repeat(1_000_000).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn a_value_is_parsed_as_it_was_printed(
            seconds in 1_u64..=2_592_000,
            before in proptest::option::of(1_u64..=9_999_999_999),
        ) {
            let value = planned(seconds);
            let asked = |before| value.due_if_polled_before(at(Duration::from_secs(before).as_secs_f64()));
            let value = before.map_or(value, asked);
            prop_assert_eq!(PlannedInterval::parse(value.to_string().as_bytes()), Some(value));
            let expected = before.map_or_else(|| seconds.to_string(), |before| format!("{seconds},{before}"));
            prop_assert_eq!(value.to_string(), expected);
            prop_assert!(value.to_string().len() <= PlannedInterval::MAX_BYTES);
        }

        #[test]
        fn only_what_is_printed_is_parsed(value in "[0-9]{0,8}[,.+ -]?[0-9]{0,11}|.*") {
            let parsed = PlannedInterval::parse(value.as_bytes());
            prop_assert!(parsed.is_none_or(|parsed| parsed.to_string() == value));
        }
    }
}
