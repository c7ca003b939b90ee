//! Tests for GitOps: the object in each of its states, and that applying unchanged manifests changes nothing.
//!
//! The objects in `tests/gitops/states` and `tests/gitops/fleet-states` are generated with the code that writes the
//! statuses, and committed; `make gitops-test` evaluates them with the rules of Argo CD, Flux and kstatus. Here they
//! are compared with that code and written to a real API server.

mod again;
mod fleet_states;
mod states;
