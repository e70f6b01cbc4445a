//! Scaling advice: derives the number of workers that a queue needs from samples of its counters. Pure.
//!
//! The unit is the slot: a worker's capacity for one task. A task occupies a slot for as long as it runs, so
//! tasks that arrive at a rate of `a` and take `c` seconds keep `a × c` slots busy (Little's law), and a
//! backlog that is to be gone within a target takes `backlog × c / target` more. `rates` measures `a` and
//! `c`, `advice` computes the sum.

mod advice;
mod rates;

use std::time::Duration;

pub use advice::{Advice, advise, advise_for_types};
pub use rates::Rates;

/// Default maximum wait of a task.
pub const TARGET_LATENCY: Duration = Duration::from_secs(30);
