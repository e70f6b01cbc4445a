//! Steps of workflows: every statement that ends one, and what that makes ready.
//!
//! A step is a row of `tasks` whose `workflow_id` is set. Its edges are the arrays `targets` and `kinds` on
//! its row. Each statement that ends a step uses `advanced_rows!`, which follows the edges in the same
//! statement: it counts down the joins they lead to, makes ready the steps for which that was the last edge,
//! and ends the workflow if nothing is left. The statements for plain tasks leave steps alone.

mod advance;
mod complete;
mod end_runs;
mod finalization;
pub mod inputs;
pub mod operate;
pub mod reconcile;
mod recover;
mod skip;
pub mod stop;

pub use advance::Advance;
pub use complete::complete;
pub use end_runs::end_runs;
pub use recover::{end_overdue, reclaim_lost_claims, recover};
pub use skip::{skip_wave, unskipped};
