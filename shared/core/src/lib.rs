//! Tasker's pure core: the types and rules of tasks. No I/O.
//!
//! - [`task`]: ids, states and their transitions, retry decisions, priority classes.
//! - [`duration`]: durations such as `1h30m`; [`role`]: the roles of users and API keys; [`json`]: checks on
//!   raw JSON text.

pub mod duration;
pub mod json;
#[cfg(feature = "sqlx")]
mod postgres;
pub mod role;
pub mod task;
