//! The Helm chart: what its templates render, which values it refuses, and how the result behaves on a real API server.
//!
//! The tests need Helm, which is built once from its Go module (`dev/tools`). `cargo test` therefore ignores them, and
//! `make chart-test` runs them after `helm lint` and kubeconform.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and prints what it saw"
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
