//! Measurements of a running system over HTTP, from a client's point of view.
//!
//! Each measurement is bounded in count and time. The load is `noop` tasks with an empty handler,
//! so the cost is Tasker's own. Rates of completed work are computed from timestamps in the task
//! records, which all come from Postgres's clock, so that no polling disturbs the measurement.

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
