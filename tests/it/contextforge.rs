//! The client of `ContextForge`: against the running release, and against a stand-in that does what the release cannot
//! be made to do.

mod release;
mod stand_in;
