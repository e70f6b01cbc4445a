//! The pure core: what a task is and which steps it may take. No I/O, no clock but the one that ids are made
//! from.

mod hint;
mod id;
pub mod limits;
pub mod priority;
pub mod retry;
pub mod state;

pub use hint::Hint;
pub use id::TaskId;
pub use priority::{Priority, QueueName};
pub use state::TaskStatus;

/// One run of a task: the claim that a worker holds.
///
/// Together with the worker's id it fences every write: `runs` never falls, and after a Postgres crash, when
/// a number can come up twice, the worker's id still tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// The task that runs.
    pub task: TaskId,
    /// Which claim of the task this is, counted from 1.
    pub number: i32,
}
