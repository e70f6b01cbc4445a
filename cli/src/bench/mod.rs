//! Measuring a running system over HTTP, as a user would meet it.
//!
//! Each line is bounded in count and time and stops by itself. The load is `noop`, which does
//! nothing: what is measured is Tasker. Rates of work done are taken from the records' own
//! timestamps, all of Postgres's clock, so that looking does not disturb what is looked at.

mod drain;
mod e2e;
mod hold;
mod http;
mod latency;
mod load;
mod stats;
mod submit;
mod system;

pub(crate) use drain::drain;
pub(crate) use e2e::e2e;
pub(crate) use latency::latency;
pub(crate) use load::Bounds;
pub(crate) use stats::Line;
pub(crate) use submit::{Slots, batch, submit};
pub(crate) use system::Noop;
