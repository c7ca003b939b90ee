//! How popular each server is. Pure.
//!
//! The server at position `k` is drawn with a probability proportional to `1 / k^exponent` (Zipf's law). The least
//! popular are never drawn: every real fleet has servers that nobody uses.

use std::sync::Arc;

use super::fleet::Server;
use super::random::Random;

/// The share of the enabled servers that ever get traffic, in percent.
const USED_PERCENT: usize = 60;

/// The order of the enabled servers, and the probabilities of the popular ones.
pub struct Popularity {
    order: Vec<usize>,
    /// For each popular position, the sum of the weights up to and including it.
    cumulative: Vec<f64>,
}

impl Popularity {
    /// The order for this seed. It depends only on names, so that workers agree, and a new server does not change the
    /// order of the others.
    pub fn new(servers: &[Arc<Server>], seed: u64, exponent: f64) -> Self {
        let enabled = servers.iter().enumerate().filter(|(_, server)| server.enabled);
        let mut order: Vec<usize> = enabled.map(|(index, _)| index).collect();
        order.sort_by_cached_key(|index| servers.get(*index).map(|server| place(server, seed)));
        let popular = (order.len() * USED_PERCENT).div_ceil(100);
        let mut sum = 0.0;
        let mut cumulative = Vec::with_capacity(popular);
        for place in 1..=popular {
            #[expect(clippy::cast_precision_loss, reason = "a fleet is far smaller than 2^53")]
            let weight = (place as f64).powf(-exponent);
            sum += weight;
            cumulative.push(sum);
        }
        Self { order, cumulative }
    }

    /// The servers, most popular first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// How many of them get traffic.
    pub const fn popular(&self) -> usize {
        self.cumulative.len()
    }

    /// The server of the next request. `None` if all are disabled.
    pub fn draw(&self, random: &mut Random) -> Option<usize> {
        let drawn = random.fraction() * self.cumulative.last()?;
        let place = self.cumulative.partition_point(|sum| *sum <= drawn);
        self.order.get(place).copied()
    }
}

fn place(server: &Server, seed: u64) -> u64 {
    random_of(server, seed).number()
}

/// The random numbers of a server: the same in every worker with this seed.
pub fn random_of(server: &Server, seed: u64) -> Random {
    let letters: Vec<u64> = server.full_name().bytes().map(u64::from).collect();
    Random::new(seed, &letters)
}
