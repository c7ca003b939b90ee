//! The fault campaign: `make chaos`. Each row of docs/contract.md#faults is one or more tests on a real kube-apiserver
//! with etcd, a real Redis and real operator processes, with signals and proxies between them. Throughout a row, an
//! observer ([`observer`]) reads both stores many times a second and checks docs/contract.md#promises.
//!
//! `cargo test` ignores the rows, because together they take minutes. `dev/chaos` runs them and prints a table.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, prints what it saw, and is no part of the program's layers"
)]

mod clocks;
mod collecting;
mod crd;
mod election;
mod frozen;
mod hooks;
mod killed_publishing;
mod kills;
mod limits;
mod memory;
mod monitor;
mod objects;
mod observer;
mod partition;
mod proxy;
mod puppet;
mod rights;
mod rival;
mod row;
mod sizes;
mod slow_clients;
mod stores;
#[path = "../support/support.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use more of it")]
mod support;
mod takeover;
mod webhook;
