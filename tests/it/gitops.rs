//! What GitOps tools see: an object in every state that it can be in, and that applying what is applied changes nothing.
//!
//! The objects of `tests/gitops/states` are made by the plan of statuses itself and committed; `make gitops-test` shows them to
//! Argo CD's, Flux's and kstatus' rules. Here they are held against the plan, and against a real API server.

mod again;
mod states;
