//! `mcpgateway-operator` ranks the upstream MCP servers of a gateway fleet by what the gateway workers really use, calls
//! the most recently used share *hot* and the rest *cold*, and publishes that, fenced, into the status of each
//! `McpGateway` object and into the Redis keys that gateways read to decide how often to poll.
//!
//! This page is the architecture. Each module begins with its role, its inputs and outputs, and what it must not do.
//!
//! # How data flows
//! ```text
//! API server ─watch─► registry ──── RegistrySnapshot ──┐
//! workers  ◄── GET ── workers ───── Collection ────────┼─► controller ─► classify (pure) ─► Classification
//! Lease    ◄────────► leadership ── LeadershipToken ───────────┘        │
//!                                                               ├─► Publication ──► publish ────────► Redis ─► gateways
//!                                                               ├─► StatusChange ─► status::writer ─► API server ─► kubectl
//!                                                               ├─► Facts ────────► status::fleet ──► ConfigMap ─► status
//!                                                               └─► CycleReport ──► server::api (its /v1/fleet, on the leader)
//! Redis ◄─► publish::reader ─► poll::decide (pure) ─► gateways, by library, command line (cli::poll) or HTTP (server::api)
//! ```
//! The last line needs no leader: every replica answers, and so does any program that is built with this crate.
//!
//! The tasks are joined by `tokio::sync::watch` channels, which hold the latest value and no queue: a signal only says
//! *look again*, and each turn decides for the whole fleet from everything. A turn that is missed loses nothing.
//!
//! What is known of the servers lies in columns in the order of the registry ([`classify::PerServer`]), from the rows of reports to the
//! places of a classification: a URL is looked up where it comes in, and compared nowhere else.
//!
//! A turn of the loop, in `controller::reign`: what is remembered of the use ([`classify::memory`], pure) → whether that is enough
//! ([`controller::Decision`], pure) → who is hot ([`classify::classify`], pure) → publish ([`publish::Store`], IO) → which statuses
//! say something new ([`status::plan`], pure) → write them ([`status::writer`], IO) → the facts of the fleet ([`status::fleet`]).
//!
//! # Who may import whom
//! | layer | modules | may import |
//! |---|---|---|
//! | 0 pure | [`model`], [`api`], [`classify`], [`poll`], [`diagnosis`], [`explanation`], `registry::{record, snapshot}`, `status` (the plan, conditions), `publish::{fence, keys, publication, foreign_holder}`, `workers::{report, request_error, verdict}`, `contextforge::{manifests, page, scope}`, `leadership::{token, lease, record, terms}` | layer 0: no async, no clock, no environment, no client |
//! | 1 adapters | [`registry`], [`workers`], [`publish`], [`leadership`], [`status::writer`], [`status::fleet`], [`events`], [`permissions`], [`contextforge`] (for the command line alone), [`http_client`], [`clock`] | layer 0, [`clock`] and [`http_client`]; one outside system each, never each other, but for the proof value [`leadership::LeadershipToken`] |
//! | 2 the loop | [`controller`] | layers 0 and 1 |
//! | 3 shell | [`run`], [`server`], [`cli`], [`config`], [`telemetry`], `main` | anything; nobody imports them |
//!
//! Adapters share values of layer 0 (a snapshot, a token), never handles. A test reads the `use` lines of every file and
//! holds them against this table; `clippy.toml` keeps clocks, environment and detached tasks out of the wrong rooms.
//!
//! # Who may write
//! Every call that writes (a publication, a renewal of the Redis lock, a status, the fleet's ConfigMap) takes a
//! [`leadership::LeadershipToken`], which only [`leadership`] can make: writing without leadership does not compile. A token is this
//! process's belief, and belief can be late; what makes a late write harmless is the *term* it carries, a number that grows with
//! every change of leader and that the stores compare themselves: Redis in the scripts of [`publish`], the API server in a rule
//! of the CRD, and in an admission policy that compares with the Lease (`charts/mcpgateway-operator/files`).
//!
//! Only the stamps of completed polls ([`publish::Polls`]) need no leader: each is what one gateway did, in a key of its own, and
//! the worst that a wrong one does is to move one poll by an interval.
//!
//! `tests/model` explores the protocol in full, with the decision functions of this crate: [`leadership::lease::evaluate`],
//! [`leadership::terms::Known`], [`publish::fence::enter`], [`publish::foreign_holder::ForeignHolderHistory`], [`api::term_may_follow`]. What of those is
//! decided elsewhere (the fence by Redis, the rule by the API server) is held against the function by a test on the real thing.
//! `tests/chaos` does the same to real processes and servers.
//!
//! # When something is in the way
//! Whatever is tried over and over (reading the registry, a permission, a status, the fleet's ConfigMap, a call about the Lease)
//! and fails is an [`model::Problem`]: told in the log once when it begins, with what to do, and once when it is over, however
//! often it is tried; it stands in a fact of the fleet, and before the replica is ready in the answer of `/readyz`.
//!
//! | fact | what is in the way | metric |
//! |---|---|---|
//! | `registryWatch` | the CRD is missing, `list` or `watch` is not allowed, the API server does not answer: the objects are those of before then, and a registry that cannot be read is never an empty one | `registry_up_to_date`, `registry_watch_failures_total` |
//! | `permissions` | verbs on resources that are not granted (any more), asked for once an interval | `permissions_missing` |
//! | `statusWrites` | a webhook or policy that denies or does not answer (by name), an object without room, a CRD that drops `status.term` | `status_writes_total{outcome}`: `refused`, `failed`, `term_dropped`; `deferred` for what was left for a later turn |
//!
//! What fails must not become a load, nor hold up what would succeed: how much of a plan is tried while writes fail is in
//! `status::writer::course`, how long a watch pauses in `registry::watching`, and how many workers are asked with few file
//! descriptors in `run::limits`.
//!
//! # Words
//! - *server*: one upstream URL. *gateway*: one `McpGateway` object; several may share a URL, and then its tier.
//! - *registry*: the gateways that are enabled and accepted.
//! - *worker*: a gateway process that reports usage. *endpoint*: an address that answers for one or more workers.
//! - *fleet*: the objects, endpoints and Redis of one operator release.
//! - *cycle*: collect, classify, publish, write status. *turn*: the same without collecting, or with.
//! - *term*: the fencing token. *token*: one process's leadership at one term, until it stops believing.
//! - *absent beats wrong*: a server without a tier is polled at the full rate, which is safe; one wrongly called cold is
//!   starved. Missing data never makes a server cold.

pub mod api;
pub mod classify;
pub mod cli;
pub mod clock;
pub mod config;
pub mod contextforge;
pub mod controller;
pub mod diagnosis;
pub mod events;
pub mod explanation;
pub mod http_client;
pub mod leadership;
pub mod model;
pub mod permissions;
pub mod poll;
pub mod publish;
pub mod registry;
pub mod run;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod workers;
