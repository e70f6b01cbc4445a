//! How many workers a queue needs: from what was measured of it to a number and its reason. Pure.
//!
//! The measure of everything is the slot: the room for one task in a worker. A task keeps a slot for as long as it runs,
//! so tasks that come at a rate of `a` and take `c` seconds keep `a × c` slots busy (Little's law), and a backlog that is
//! to be gone within a target takes `backlog × c / target` more. `rates` finds `a` and `c`, `advice` does the sum.

mod advice;
mod rates;

use std::time::Duration;

pub use advice::{Advice, advise, advise_for_types};
pub use rates::Rates;

/// How long a task may wait at most, where nobody says otherwise.
pub const TARGET_LATENCY: Duration = Duration::from_secs(30);
