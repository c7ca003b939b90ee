//! The ladders on which intervals and the reference idle time move. Pure.

/// How far past a threshold the exact interval must be before the rung changes, as a factor.
const HYSTERESIS: f64 = 1.2;
/// The same as a factor of the idle time, of which the interval is the square root.
const IDLE_HYSTERESIS: f64 = HYSTERESIS * HYSTERESIS;
/// The reference is a power of two to this fraction.
const STEPS_AN_OCTAVE: i16 = 4;
/// The longest interval as a multiple of the shortest: 68 years, if that is a second.
const LONGEST: f64 = 2_147_483_648.0;

/// A place on the ladder of intervals: 0 is the shortest interval, and each further one is twice as long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rung(u8);

impl Rung {
    /// The shortest interval: the full rate.
    pub const FIRST: Self = Self(0);

    /// How many times the interval has been doubled.
    pub const fn doublings(self) -> u8 {
        self.0
    }

    /// The first rung whose interval is at least this multiple of the shortest one.
    pub(super) fn reaching(multiple: f64) -> Self {
        let exponent = exponent(multiple.clamp(1.0, LONGEST));
        Self(if exp2(exponent) < multiple.min(LONGEST) { exponent + 1 } else { exponent })
    }
}

/// The ladder of one server: 1, 2, 4, … as long as that is less than the cap, and then the cap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ladder {
    last: Rung,
    /// Polls at the cap, in the time of the shortest interval.
    least_polls: f64,
    /// The idle time at which the cap is reached, as a multiple of the reference.
    most_idle: f64,
}

impl Ladder {
    /// The ladder up to a multiple of the shortest interval; less than 1 counts as 1.
    pub(super) fn up_to(cap: f64) -> Self {
        let cap = cap.clamp(1.0, LONGEST);
        Self { last: Rung::reaching(cap), least_polls: 1.0 / cap, most_idle: cap * cap }
    }

    /// Polls at the interval of a rung, in the time of the shortest one.
    #[inline]
    pub(super) fn polls(self, rung: Rung) -> f64 {
        if rung < self.last { 1.0 / exp2(rung.0) } else { self.least_polls }
    }

    /// The longest interval.
    pub(super) const fn last(self) -> Rung {
        self.last
    }

    /// The rung for an idle time as a multiple of the reference: the longest interval that is not above the square root
    /// of that. A previous rung stays until the square root is [`HYSTERESIS`] past the threshold to the next.
    #[inline]
    pub(super) fn rung(self, idle: f64, previous: Option<Rung>) -> Rung {
        match previous {
            None => self.exact(idle),
            // Always in order, because the rung does not fall when the idle time grows.
            Some(previous) => previous.max(self.exact(idle / IDLE_HYSTERESIS)).min(self.exact(idle * IDLE_HYSTERESIS)),
        }
    }

    #[inline]
    fn exact(self, idle: f64) -> Rung {
        // The square root is not computed: doubling it is quadrupling the idle time.
        if idle >= self.most_idle {
            self.last
        } else {
            Rung(exponent(idle) / 2).min(Rung(self.last.0.saturating_sub(1)))
        }
    }
}

/// The idle time whose servers have the shortest interval, on a ladder of four steps for each doubling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference(i16);

impl Reference {
    /// From here down, every server has its longest interval: 1 / ([`LONGEST`]² × [`IDLE_HYSTERESIS`]) is greater.
    pub(super) const LEAST: Self = Self(-63 * STEPS_AN_OCTAVE);
    /// From here up, every server has the shortest interval: no [`std::time::Duration`] is as long, even in seconds.
    pub(super) const GREATEST: Self = Self(65 * STEPS_AN_OCTAVE);

    /// As a multiple of the shortest interval.
    pub fn multiple(self) -> f64 {
        // 2^(0/4) to 2^(3/4)
        const WITHIN_AN_OCTAVE: [f64; STEPS_AN_OCTAVE as usize] =
            [1.0, 1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429];
        let step = self.0.rem_euclid(STEPS_AN_OCTAVE).unsigned_abs();
        WITHIN_AN_OCTAVE[usize::from(step)] * 2.0_f64.powi(i32::from(self.0.div_euclid(STEPS_AN_OCTAVE)))
    }

    /// One step further up, or the greatest one.
    pub(super) fn up(self) -> Self {
        Self(self.0 + 1).min(Self::GREATEST)
    }

    /// The greatest one for which this holds, if it holds for all those below; the least one if it holds for none.
    pub(super) fn greatest(fits: impl Fn(Self) -> bool) -> Self {
        let (mut fitting, mut beyond) = (Self::LEAST.0, Self::GREATEST.0 + 1);
        while beyond - fitting > 1 {
            let middle = i16::midpoint(fitting, beyond);
            if fits(Self(middle)) {
                fitting = middle;
            } else {
                beyond = middle;
            }
        }
        Self(fitting)
    }
}

/// The greatest whole number to whose power 2 is not above a number; 0 for numbers below 1.
#[inline]
fn exponent(number: f64) -> u8 {
    // The exponent of IEEE 754, without the sign. Infinity has 1024.
    let exponent = ((number.to_bits() >> 52) & 0x7ff).saturating_sub(1023);
    u8::try_from(exponent).unwrap_or(u8::MAX)
}

/// 2 to a power.
#[inline]
fn exp2(exponent: u8) -> f64 {
    f64::from_bits((1023 + u64::from(exponent)) << 52)
}
