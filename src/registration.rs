//! What the operator registers in `ContextForge`. Pure: settings of objects and entries of `ContextForge` in, calls and
//! outcomes out. Nothing here waits, reads a clock or sends anything.
//!
//! [`objects`] finds the objects that ask for a registration, and [`credentials`] reads their Secrets. [`desired`] is
//! what an entry should be, [`wanted`] what is wanted and known of it, [`observed`] what `ContextForge` has, and
//! [`ownership`] says whose it is. [`reconcile`] decides which calls bring an entry there, [`rate`] when a call may be
//! sent, and [`rounds`] for which object the next one is. [`outcome`] is what the status of an object says. [`mirror`]
//! makes objects of the entries that no object speaks for.

pub mod credentials;
pub mod desired;
pub mod mirror;
pub mod objects;
pub mod observed;
pub mod outcome;
pub mod ownership;
pub mod rate;
pub mod reconcile;
pub mod rounds;
pub mod wanted;
