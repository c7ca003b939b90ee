//! x
pub mod api;
pub mod classify;
pub mod clock;
pub mod leadership;
pub mod model;
pub mod registry;
pub mod status;
