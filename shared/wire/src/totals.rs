//! Totals: numbers of submitted and finished tasks.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// The numbers of submitted and finished tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Totals {
    /// By day, the oldest first.
    pub days: Vec<DayTotals>,
    /// By task type, sorted by name, over all these days.
    pub types: Vec<TypeTotals>,
}

/// The totals of a day.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DayTotals {
    /// The day (UTC).
    pub day: NaiveDate,
    /// The number of tasks by event.
    #[serde(flatten)]
    pub counts: TaskCounts,
}

/// The totals of a type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TypeTotals {
    /// The type.
    pub task_name: String,
    /// The number of tasks by event.
    #[serde(flatten)]
    pub counts: TaskCounts,
}

/// The number of tasks by event. A task that an operator retries is counted again when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskCounts {
    /// Submitted tasks.
    pub submitted: i64,
    /// Tasks that completed.
    pub completed: i64,
    /// Tasks that were cancelled.
    pub cancelled: i64,
    /// Tasks that became dead letters.
    pub dead_letter: i64,
    /// Failed attempts that were followed by a retry.
    pub retry_scheduled: i64,
    /// Cancelled tasks that an operator retried.
    pub cancelled_retried: i64,
    /// Dead letters that an operator retried.
    pub dead_letter_retried: i64,
    /// Dead letters that were purged.
    pub purged: i64,
}
