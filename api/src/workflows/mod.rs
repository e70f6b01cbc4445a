//! The start of workflows: from a request to the rows that it writes.

mod build;
mod fingerprint;
mod request;
mod starter;
mod templates;

pub use request::{StartRequest, WorkflowRequest, validation_errors};
pub use starter::{Started, start};
