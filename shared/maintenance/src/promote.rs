//! Promotes due tasks from `scheduled` and `retry_scheduled` to `pending`, and pushes their hints after the
//! commit.

use std::sync::Arc;
use std::time::Duration;

use tasker_store::promote::{next_due_in, promote};
use tasker_store::{self as store, ObservedPool};

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::hints::HintSender;

/// Maximum number of tasks per statement.
const BATCH: i64 = 1_000;
/// Maximum sleep: a task submitted meanwhile may be due before the next one known.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Minimum sleep: a row that is still due after a run is locked, by another server's promoter or by another
/// transaction.
const SLEEP_MIN: Duration = Duration::from_millis(20);

/// The duty that promotes due tasks.
#[derive(Debug)]
pub struct Promoter {
    db: ObservedPool,
    hints: Arc<dyn HintSender>,
}

impl Promoter {
    /// Creates the duty.
    pub fn new(db: impl Into<ObservedPool>, hints: Arc<dyn HintSender>) -> Self {
        Self { db: db.into(), hints }
    }

    /// Promotes all due tasks; returns the time until the next one is due, or `None` without one. While no
    /// task is due, this is one cheap statement.
    pub async fn run_once(&self) -> store::Result<Option<Duration>> {
        let next_due = bounded(next_due_in(&self.db)).await?;
        if next_due != Some(Duration::ZERO) {
            return Ok(next_due);
        }
        loop {
            let promoted = bounded(promote(&self.db, BATCH)).await?;
            let full = i64::try_from(promoted.len()) == Ok(BATCH);
            metrics::counter!("tasker_promoted_total").increment(promoted.len() as u64);
            // after the commit: a hint whose row is not pending yet would be dropped as stale by the worker
            // that pops it
            self.hints.push(promoted).await;
            if !full {
                return bounded(next_due_in(&self.db)).await;
            }
        }
    }
}

impl Duty for Promoter {
    const NAME: &'static str = "promoter";
    type Outcome = Option<Duration>;

    async fn run(&mut self) -> Result<Option<Duration>, DutyError> {
        Ok(self.run_once().await?)
    }

    fn pause(&self, next_due: Option<&Option<Duration>>) -> Duration {
        let next_due = next_due.copied().flatten();
        next_due.unwrap_or(SLEEP_MAX).clamp(SLEEP_MIN, SLEEP_MAX)
    }
}
