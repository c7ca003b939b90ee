//! Tests on real parts: a kube-apiserver with etcd, Redis, HTTP workers, and the operator's own processes.
//!
//! One binary, so that there is one link. The control plane starts with the first test that needs it and ends with this
//! process, however that ends. Each test has namespaces, a Redis and ports of its own, so all may run side by side.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, prints what it saw, and is outside the layers"
)]

mod artifact_hub;
mod cli;
mod cluster_access;
mod compliance;
mod contextforge;
mod contract;
mod doctor;
mod drift;
mod explain;
mod families;
mod fleet;
mod gitops;
mod import;
mod imports;
mod lease;
mod listeners;
mod mirror;
mod operations;
mod polls;
mod redis;
mod registration_rules;
mod settings;
#[path = "../support/support.rs"]
#[expect(dead_code, reason = "shared with the fault campaign, which uses more of it")]
mod support;
mod upgrade;
mod url_rules;
mod verdicts;
mod what_if;
mod worker;
