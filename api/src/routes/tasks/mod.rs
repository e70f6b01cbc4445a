//! Submit, follow, cancel and retry tasks.

mod action;
pub mod cancel;
pub mod explain;
pub mod get;
pub mod history;
pub mod list;
pub mod result;
pub mod retry;
pub mod status;
pub mod submit;
pub mod submit_batch;
pub mod totals;
pub mod types;
