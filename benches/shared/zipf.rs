//! Servers drawn by Zipf's law. Pure.

use super::random::Random;

/// Places by popularity, the most popular first.
pub struct Zipf {
    /// The sums of the weights up to each place.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// So many places. `exponent`: 0 makes all equally popular.
    pub fn new(places: usize, exponent: f64) -> Self {
        let weights = (1..=places).map(|place| (place as f64).powf(-exponent));
        let cumulative = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { cumulative: cumulative.collect() }
    }

    /// A place, by its weight.
    pub fn draw(&self, random: &mut Random) -> usize {
        let drawn = random.fraction() * self.cumulative.last().unwrap();
        self.cumulative.partition_point(|sum| *sum <= drawn)
    }

    /// The weight of each place.
    pub fn weights(&self) -> Vec<f64> {
        let before = [0.0].iter().chain(&self.cumulative);
        self.cumulative.iter().zip(before).map(|(sum, before)| sum - before).collect()
    }
}
