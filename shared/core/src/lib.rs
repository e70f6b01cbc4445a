//! Tasker's pure core: the types and rules of tasks. No I/O.
//!
//! - [`task`]: ids, states and their transitions, retry decisions, priority classes.
//! - [`duration`]: durations such as `1h30m`; [`role`]: the roles of users and API keys; [`json`]: checks on
//!   raw JSON text; [`similar_names`]: the names that a misspelled one may mean.

pub mod duration;
pub mod json;
#[cfg(feature = "sqlx")]
mod postgres;
pub mod role;
pub mod similar_names;
pub mod task;
