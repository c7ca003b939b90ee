//! `mcpgateway-operator` ranks the upstream MCP servers of a gateway fleet by what the gateway workers really use. It
//! calls the most recently used share *hot* and the rest *cold*, and publishes that, fenced, in the status of each
//! `McpGateway` object and in the Redis keys by which gateways decide how often to poll.
//!
//! This page is the architecture. `docs/contract.md` is the contract: names, formats, rules and promises that other
//! programs and people rely on. Each module starts with its role, its inputs and outputs, and what it must not do.
//!
//! # How data flows
//! ```text
//! API server ─watch─► registry ──────── RegistrySnapshot ──┐
//! API server ─watch─► fleet::object ─── FleetObject ───────┤                     ┌─► Publication ──► publish ────────► Redis ─► gateways
//! workers   ◄─ GET ── workers ───────── Collection ────────┼─► controller::state ┼─► StatusPlan ───► status::writer ─► API server ─► kubectl
//! Lease     ◄───────► leadership ────── LeadershipToken ───┤     (pure)          ├─► FleetStatus ──► fleet::object ──► API server ─► kubectl, status, doctor
//! Redis     ◄───────► publish::keep ─── LockState ─────────┘                     └─► CycleReport ──► server::api (/v1/fleet of the leader)
//!
//! Redis ◄─► publish::reader ─► poll::decide (pure) ─► gateways: by library, command line (cli::poll) or HTTP (server::api)
//!
//! registry ──── spec.registration ──► registration (pure) ─► registrar ─► ContextForge
//!                                                                └─ Outcomes ─► controller::state
//! ```
//! The middle line needs no leader: every replica answers, and so does any program built with this crate.
//!
//! Tasks are joined by `tokio::sync::watch` channels, which hold the latest value and no queue. Each cycle of the loop
//! decides for the whole fleet from everything, so a change that is missed loses nothing. Little is done again for
//! what has not changed: the servers rank as they did until a collection brings something new, and only objects about
//! which something has changed since all statuses were written are looked at again ([`status::Settled`]).
//!
//! # The loop
//! `controller::state` is a state machine: an event and the time go in, effects come out. `controller::driver` waits
//! for events and performs effects. One turn takes these steps: what is remembered of the usage ([`classify::memory`],
//! pure), what to do with it (`controller::decision`, pure), which servers are hot ([`classify::classify`], pure),
//! publish ([`publish::Store`], IO), which statuses say something new ([`status::plan`], pure), write them
//! ([`status::writer`], IO; cut short when another turn is due), and the state of the fleet ([`fleet`], pure;
//! [`fleet::object`], IO).
//!
//! Everything known of the servers is in columns in the order of the registry ([`classify::PerServer`]), from the rows
//! of reports to the status plan. A URL is looked up once, where it comes in, and compared nowhere else.
//!
//! # Who may import whom
//! | layer | modules | may import |
//! |---|---|---|
//! | 0 pure | [`model`], [`api`], [`classify`], [`plan`], [`poll`], [`registration`], [`diagnosis`], [`explanation`], [`fleet`], `registry::{gateways, loss, record, snapshot}`, [`status`], `publish::{keys, publication, foreign_holder, error}`, `workers::{report, request_error, verdict}`, `contextforge::{call_error, entry, scope}`, `leadership::{token, decision, record, terms}` | layer 0: no async, no clock, no environment, no client |
//! | 1 adapters | [`clock`], [`http_client`], `kube_error`, [`registry`], [`workers`], [`publish`], [`leadership`], [`status::writer`], [`fleet::object`], [`events`], [`permissions`], [`contextforge`] | layer 0, [`clock`], [`http_client`] and `kube_error`, but no other adapter |
//! | 2 the loops | [`controller`], [`registrar`] | layers 0 and 1 |
//! | 3 shell | [`run`], [`server`], [`cli`], [`config`], [`telemetry`], `cluster_access`, `main` | anything; no lower layer imports it |
//!
//! A submodule belongs to the layer of its parent unless the table lists it. Adapters share values of layer 0 (a
//! snapshot, a token), never handles. A test (`tests/it/imports.rs`) reads this table and holds all imports against it;
//! `clippy.toml` keeps clocks, the environment and detached tasks out of the wrong modules.
//!
//! # Who may write
//! Every call that writes (a publication, a renewal of the Redis lock, a status) takes a
//! [`leadership::LeadershipToken`], which only [`leadership`] can make: writing without leadership does not compile. A
//! token is what this process believes, and it may learn too late that it has lost the Lease. What makes a late write
//! harmless is the *term* that it carries, a number that grows with every change of leader. The stores compare it
//! themselves: Redis in the scripts of [`publish`], the API server in a rule of both CRDs, and in an admission policy
//! that compares it with the Lease (`charts/mcpgateway-operator/files`).
//!
//! Only the stamps of completed polls ([`publish::Polls`]) need no leader: each says what one gateway did, in a key of
//! its own, and the worst effect of a wrong one is to move one poll by an interval.
//!
//! `tests/model` explores the whole protocol with the decision functions of this crate:
//! [`leadership::decision::next_action`], [`leadership::terms::SeenTerms`],
//! [`publish::foreign_holder::ForeignHolderHistory`] and [`api::term_may_follow`], and with the rule of the fence in
//! Rust (`tests/support/fence.rs`). Where a store decides (the fence in Redis, the rule in the API server), a test
//! compares the function with the real store. `tests/chaos` does the same to real processes and servers.
//!
//! # The emergency brake
//! `spec.suspend` of the `McpGatewayFleet` stops every influence on gateways. The state machine withdraws the
//! publication at once, whatever the turn is doing, and then removes the tiers from the statuses. The Redis lock is
//! kept. See `docs/contract.md#suspending-a-fleet`.
//!
//! # Failures that last
//! Whatever is tried again and again (reading the registry, a permission, a status write) and fails is a
//! [`model::Problem`] with a stable reason. It is logged once when it begins, with what to do, and once when it is
//! over, however often the call is repeated. It is a condition of the fleet object, and before the replica is ready it
//! is part of the answer of `/readyz`.
//!
//! | condition | problem | metric |
//! |---|---|---|
//! | `RegistryRead` | the CRD is missing, `list` or `watch` is denied, or the API server does not answer. The objects are those of before then: a registry that cannot be read is never an empty one | `registry_up_to_date`, `registry_watch_failures_total` |
//! | `Permitted` | permissions that are not granted, checked once an interval | `permissions_missing` |
//! | `StatusesWritten` | a webhook or policy that denies or does not answer, an object without room, a CRD that drops `status.term` | `status_writes_total{outcome}`: `refused`, `failed`, `term_dropped`; `deferred` for what was left to a later turn |
//!
//! Failing calls must not become a load, nor hold up those that would succeed. `status::writer::write_queue` decides
//! how much of a plan is attempted while writes fail, `registry::retrying_watch` how long a watch pauses, and
//! `run::limits` how many workers are asked at once when file descriptors are few.
//!
//! # Terms
//! - *server*: one upstream URL. *`McpGateway`*: an object that registers a server; several may share one, and then its
//!   tier.
//! - *gateway*: the program that polls servers, such as `ContextForge`. *worker*: a gateway process that reports usage.
//!   *endpoint*: an address that answers for one or more workers.
//! - *registry*: the objects that are enabled and accepted.
//! - *fleet*: the objects, endpoints and Redis of one release of the operator.
//! - *cycle*: collect, classify, publish, write statuses. *turn*: the same with or without collecting.
//! - *term*: the fencing token. *leadership token*: one process's leadership at one term.
//! - *absent beats wrong*: a server without a tier is polled at the full rate, which is safe; one wrongly called cold
//!   is polled too rarely. Missing data never makes a server cold.
//!
//! # Libraries that are not used, and why
//! - Process metrics: the crates that exist are built for older releases of `prometheus-client` or export names outside
//!   the contract.
//! - Generators of `OpenAPI`: `docs/openapi.json` is written by hand and held against a live server, which is less code
//!   than annotations.
//! - `clap`'s own errors: they take several lines, omit what is allowed, and repeat values that may be secrets.
//! - Leader election: the crates that offer it use merge patches without a precondition, or compare wall clocks.
//! - `kube::runtime::watcher` for the Lease: it needs `list`, which the operator is not granted, and recovers in its
//!   own way. For the objects: it streams lists from version 0, which may be older than what was seen before.

pub mod api;
pub mod classify;
pub mod cli;
pub mod clock;
mod cluster_access;
pub mod config;
pub mod contextforge;
mod controller;
pub(crate) mod diagnosis;
mod events;
pub(crate) mod explanation;
pub mod fleet;
pub mod http_client;
mod kube_error;
pub mod leadership;
pub mod model;
pub mod permissions;
pub mod plan;
pub mod poll;
pub mod publish;
pub mod registrar;
pub mod registration;
pub mod registry;
pub mod run;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod workers;
