//! The client of `ContextForge`: against the running release, and against a stand-in that does what the release cannot
//! be made to do. The commands that ask it, against a stand-in.

mod commands;
mod release;
mod stand_in;
