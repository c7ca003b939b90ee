//! A small random number generator (SplitMix64): the same numbers for the same seed, on every machine. Pure.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed and these numbers. Each combination has its own stream.
    pub fn new(seed: u64, further: &[u64]) -> Self {
        let mut random = Self(seed);
        for number in further {
            random = Self(random.number() ^ number);
        }
        random
    }

    /// 64 random bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..1`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a float exactly")]
    pub fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in `0..end`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a small number")]
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    pub fn below(&mut self, end: usize) -> usize {
        (self.fraction() * end as f64) as usize
    }

    /// The time between two independent events with this mean, in the unit of the mean.
    pub fn waiting_time(&mut self, mean: f64) -> f64 {
        -(1.0 - self.fraction()).ln() * mean
    }
}
