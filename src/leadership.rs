//! x
mod mandate;
pub use mandate::{Mandate, Write};
