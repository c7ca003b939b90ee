//! The Helm chart: what its templates make of values, which values it refuses, and what the result is worth on a real API server.
//!
//! Helm is built once from its Go module (`dev/tools`), so these tests are ignored by `cargo test`; `make chart-test` runs them,
//! after `helm lint` and kubeconform.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, says what it saw, and stands outside of the rooms"
)]

mod bad_values;
mod flags;
mod helm;
mod install;
mod render;
mod rights;
#[path = "../support/support.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use more of it")]
mod support;
