//! Health and metrics of the server.

pub mod checks;
pub mod metrics;
pub mod orchestration;
mod probes;
