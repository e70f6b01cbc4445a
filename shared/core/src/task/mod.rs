//! Tasks: ids, states and their transitions, priorities, retries, limits. No I/O, and no clock but that of
//! generated ids.

mod hint;
mod id;
pub mod limits;
pub mod priority;
pub mod retry;
pub mod state;

pub use hint::{Hint, is_urgent};
pub use id::TaskId;
pub use priority::{Priority, QueueName};
pub use state::TaskStatus;

/// One run of a task: the fence of its claim.
///
/// Together with the worker's id it fences every write: `runs` never decreases, and if a Postgres crash makes
/// a number occur twice, the worker's id still distinguishes the two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// The task that runs.
    pub task: TaskId,
    /// The number of the claim, counted from 1.
    pub number: i32,
}
