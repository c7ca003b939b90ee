//! The Helm chart: what it renders, which values it refuses, and how the result behaves on a real API server.
//!
//! These tests need Helm, which `dev/tools` builds once from its Go module, so `cargo test` ignores them. `make
//! chart-test` runs them after `helm lint` and kubeconform.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, prints what it saw, and is no part of the program's layers"
)]

mod bad_values;
mod flags;
mod helm;
mod injection;
mod install;
mod metrics;
mod odd_values;
mod render;
mod rights;
#[path = "../support/support.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use more of it")]
mod support;
mod usage_plugin;
