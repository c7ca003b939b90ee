//! Orders the eligible servers (`docs/contract.md#ranking`). Pure.

use std::cmp::Reverse;
use std::time::Duration;

use super::{PerServer, RankingInput, ServerUsage};
use crate::model::UnixTime;

/// The places of the eligible servers, hottest first. A server is eligible if it was ever used; active sessions alone
/// do not count. The order is by recency (newest first), `active` (most first), `use_count` (most first) and the bytes
/// of the URL, so there are no ties and the order of the input does not matter.
///
/// The time decides nearly everything, so that is sorted by first, as a plain number: comparing all fields of two
/// servers each time would take most of a cycle. Servers with equal times are ordered afterwards.
pub(super) fn order(inputs: &PerServer<RankingInput>, now: UnixTime, resolution: Duration) -> Vec<u32> {
    let values = inputs.values();
    let eligible = (0_u32..).zip(values).filter(|(_, input)| !input.new).filter_map(|(place, input)| {
        let last_used = input.usage.last_used.filter(|time| *time > UnixTime::EPOCH)?;
        Some((recency(last_used, now, resolution), place))
    });
    // Sort keys, smallest first, and the places of their servers.
    let mut entries: Vec<(u64, u32)> = Vec::with_capacity(values.len());
    entries.extend(eligible);
    entries.sort_unstable_by_key(|(key, _)| *key);
    let usage = |place: u32| &values[place as usize].usage;
    for equal in entries.chunk_by_mut(|(one, _), (other, _)| one == other).filter(|equal| equal.len() > 1) {
        equal.iter_mut().for_each(|(key, place)| *key = busyness(usage(*place)));
        equal.sort_unstable_by_key(|(key, _)| *key);
        for equal in equal.chunk_by_mut(|(one, _), (other, _)| one == other).filter(|equal| equal.len() > 1) {
            equal.sort_unstable_by_key(|(_, place)| {
                let usage = usage(*place);
                (Reverse(usage.active), Reverse(usage.use_count), &inputs.servers()[*place as usize])
            });
        }
    }
    entries.into_iter().map(|(_, place)| place).collect()
}

/// `last_used`, latest first; with a resolution D, `floor((now − last_used) / D)`, smallest first, because an order
/// finer than a poller can notice makes tiers flap.
fn recency(last_used: UnixTime, now: UnixTime, resolution: Duration) -> u64 {
    if resolution.is_zero() {
        !ascending(last_used.seconds())
    } else {
        ascending(((now.seconds() - last_used.seconds()) / resolution.as_secs_f64()).floor())
    }
}

/// Maps floats to integers in the total order of IEEE 754.
const fn ascending(float: f64) -> u64 {
    let bits = float.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// `active`, then `use_count`, most first, each capped at 32 bits: two servers whose keys differ are in the right
/// order, the others must still be compared.
fn busyness(usage: &ServerUsage) -> u64 {
    const MOST: u64 = u32::MAX as u64;
    let active = usage.active.min(MOST);
    // A capped `active` may hide a difference, which `use_count` must not override.
    let use_count = if active == MOST { 0 } else { usage.use_count.min(MOST) };
    !(active << 32 | use_count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::ServerUrl;

    /// The order of the contract, with all fields compared.
    fn reference_order(known: &PerServer<RankingInput>, now: f64, resolution: f64) -> Vec<u32> {
        let mut eligible: Vec<u32> = (0..).take(known.values().len()).collect();
        let of = |place: u32| (&known.servers()[place as usize], known.values()[place as usize]);
        eligible.retain(|place| {
            let (_, RankingInput { usage, new, .. }) = of(*place);
            !new && usage.last_used.is_some_and(|time| time.seconds() > 0.0)
        });
        eligible.sort_by(|one, other| {
            let [(url, known), (other_url, other)] = [of(*one), of(*other)];
            let [time, other_time] = [known, other].map(|known| known.usage.last_used.unwrap().seconds());
            let recency = if resolution > 0.0 {
                ((now - time) / resolution).floor().total_cmp(&((now - other_time) / resolution).floor())
            } else {
                other_time.total_cmp(&time)
            };
            let busy = other.usage.active.cmp(&known.usage.active);
            let count = other.usage.use_count.cmp(&known.usage.use_count);
            recency.then(busy).then(count).then(url.cmp(other_url))
        });
        eligible
    }

    fn any_count() -> impl Strategy<Value = u64> {
        let edge = u64::from(u32::MAX);
        prop_oneof![4 => 0_u64..3, 1 => edge - 1..edge + 2, 1 => Just(u64::MAX), 1 => any::<u64>()]
    }

    fn any_input() -> impl Strategy<Value = RankingInput> {
        let time = prop_oneof![
            1 => Just(None),
            4 => (0_u32..4).prop_map(|n| Some(100.0 + f64::from(n) / 2.0)),
            1 => prop::sample::select(vec![Some(-1.0), Some(0.0), Some(1e-300), Some(1e300)]),
        ];
        (time, any_count(), any_count(), prop::bool::weighted(0.1)).prop_map(|(time, active, use_count, new)| {
            let last_used = time.and_then(UnixTime::from_seconds);
            RankingInput {
                usage: ServerUsage { last_used, active, idle: 0, use_count },
                new,
                ..RankingInput::default()
            }
        })
    }

    proptest! {
        #[test]
        fn the_order_equals_the_reference_order(
            values in prop::collection::vec(any_input(), 0..60),
            resolution in prop::sample::select(vec![0_u32, 1, 60]),
        ) {
            // The order of the URLs differs from the order of the places.
            let url = |n: usize| ServerUrl::parse(&format!("http://{:x}.example/", n.wrapping_mul(7919) % 61)).unwrap();
            let servers: Arc<[ServerUrl]> = (0..values.len()).map(url).collect();
            let mut known = PerServer::of(&servers);
            known.values_mut().copy_from_slice(&values);
            let found = order(&known, UnixTime::from_seconds(102.0).unwrap(), Duration::from_secs(resolution.into()));
            prop_assert_eq!(found, reference_order(&known, 102.0, resolution.into()));
        }
    }
}
