//! What the operator registers in `ContextForge`. Pure: settings of objects and entries of `ContextForge` in, calls and
//! outcomes out. Nothing here waits, reads a clock or sends anything.
//!
//! [`ownership`] says whose an entry is, [`desired`] what it should be, [`reconcile`] which calls bring it there, and
//! [`rate`] when a call may be sent. [`mirror`] makes objects of the entries that no object speaks for.

pub mod desired;
pub mod mirror;
pub mod ownership;
pub mod rate;
pub mod reconcile;
