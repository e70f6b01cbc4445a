//! How many tasks came and how they ended.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many tasks came and how they ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// By day, the oldest first.
    pub days: Vec<DayTotals>,
    /// By type, in the order of names, all those days together.
    pub types: Vec<TypeTotals>,
}

/// The totals of a day.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DayTotals {
    /// The day (UTC).
    pub day: NaiveDate,
    /// How many tasks did what.
    #[serde(flatten)]
    pub counts: TaskCounts,
}

/// The totals of a type.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TypeTotals {
    /// The type.
    pub task_name: String,
    /// How many tasks did what.
    #[serde(flatten)]
    pub counts: TaskCounts,
}

/// How many tasks did what. A task that an operator lets run again ends once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    /// Were submitted.
    pub submitted: i64,
    /// Ended well.
    pub completed: i64,
    /// Ended because somebody asked for it.
    pub cancelled: i64,
    /// Ended without success.
    pub dead_letter: i64,
    /// Attempts that failed and were to be tried again.
    pub retry_scheduled: i64,
    /// Were cancelled, and an operator let them run again.
    pub cancelled_retried: i64,
    /// Were dead letters, and an operator let them run again.
    pub dead_letter_retried: i64,
    /// Were dead letters, and deleted.
    pub purged: i64,
}
