//! `/v1/workflows`, and `/v1/tasks`, its other name.

pub mod cancel;
pub mod get;
pub mod history;
pub mod list;
pub mod operate;
pub mod start;
pub mod step;
pub mod steps;
mod view;
