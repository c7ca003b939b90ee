//! What the operator registers in `ContextForge`. Pure: settings of objects and entries of `ContextForge` in, calls and
//! outcomes out. Nothing here waits, reads a clock or sends anything.
//!
//! [`credentials`] makes credentials of the values of a Secret, [`ownership`] says whose an entry is, [`desired`] what
//! it should be, [`reconcile`] which calls bring it there, [`rate`] when a call may be sent, [`rounds`] for which
//! object the next one is, [`objects`] what the registry asks for, and [`outcome`] what its status says. [`mirror`]
//! makes objects of the entries that no object speaks for.

pub mod credentials;
pub mod desired;
pub mod mirror;
pub mod objects;
pub mod outcome;
pub mod ownership;
pub mod rate;
pub mod reconcile;
pub mod rounds;
