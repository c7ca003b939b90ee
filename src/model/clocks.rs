//! Clocks that differ from the reference time (`docs/contract.md#clocks`). Pure.

use std::fmt;

use super::EndpointId;

/// Clocks that differ by this much are not corrected. It is more than a slow answer adds.
pub const TOLERATED_SKEW_SECONDS: f64 = 5.0;

/// Whose clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockName {
    /// The machine on which the leader runs.
    Operator,
    /// The API server.
    ApiServer,
    /// Redis.
    Redis,
    /// The workers behind an endpoint.
    Worker(EndpointId),
}

impl ClockName {
    /// The label of a metric.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::ApiServer => "api_server",
            Self::Redis => "redis",
            Self::Worker(_) => "worker",
        }
    }
}

impl fmt::Display for ClockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::ApiServer => f.write_str("API server"),
            Self::Redis => f.write_str("redis"),
            Self::Worker(endpoint) => write!(f, "worker {endpoint}"),
        }
    }
}

/// How far a clock is ahead of the reference time, or behind it if the seconds are negative.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockSkew {
    /// Whose it is.
    pub clock: ClockName,
    /// How far it is ahead.
    pub seconds: f64,
}

impl ClockSkew {
    /// Whether it is so much that the clock must be set.
    pub const fn is_too_much(&self) -> bool {
        self.seconds.abs() > TOLERATED_SKEW_SECONDS
    }
}

impl fmt::Display for ClockSkew {
    /// Rounded, so that a clock that drifts does not change a status each cycle: to tens of seconds, from ten minutes
    /// on to minutes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds.abs();
        let (number, unit) =
            if seconds < 595.0 { ((seconds / 10.0).round() * 10.0, "s") } else { ((seconds / 60.0).round(), "min") };
        let side = if self.seconds > 0.0 { "ahead" } else { "behind" };
        write!(f, "{} {number}{unit} {side}", self.clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_rounded() {
        let text = |seconds| ClockSkew { clock: ClockName::Redis, seconds }.to_string();
        assert_eq!(text(-121.4), "redis 120s behind");
        assert_eq!(text(6.0), "redis 10s ahead");
        assert_eq!(text(599.0), "redis 10min ahead");
        assert_eq!(text(-3601.0), "redis 60min behind");
    }
}
