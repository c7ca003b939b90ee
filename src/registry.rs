//! x
mod record;
mod snapshot;
pub use record::*;
pub use snapshot::*;
