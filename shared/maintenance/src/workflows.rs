//! Workflows that only the leader moves on: those that are stopped, and steps that wait to be skipped.
//!
//! A workflow that completes does so by the statement that ends its last step. One that is cancelled, given
//! up or past its deadline is marked; this duty then cancels its steps in passes and ends it.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::{Hint, TaskId};
use tasker_queue::RedisQueues;
use tasker_store::steps::{self, Advance, stop};
use tasker_store::{self as store, ObservedPool, retry_rolled_back};
use tracing::{info, warn};

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::hints::HintSender;
use crate::step_follow::follow;

/// Time between runs.
const INTERVAL: Duration = Duration::from_secs(1);
/// The age from which a step that has to be skipped counts as left behind by the process that ended its
/// parents.
const SKIP_AGE: Duration = Duration::from_secs(1);
/// Maximum number of steps per statement, and of workflows per run.
const BATCH: i64 = 1_000;

/// The duty that moves workflows on which are stopped or left behind.
#[derive(Debug)]
pub struct WorkflowKeeper {
    db: ObservedPool,
    redis: Option<Arc<RedisQueues>>,
    hints: Arc<dyn HintSender>,
}

/// The result of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Workflows that were stopped and have ended now.
    pub ended: usize,
    /// Steps that were cancelled or asked to stop.
    pub stopped: i64,
    /// Steps that another process had left to be skipped.
    pub skipped: usize,
}

impl WorkflowKeeper {
    /// Creates the duty.
    pub fn new(
        db: impl Into<ObservedPool>,
        redis: Option<Arc<RedisQueues>>,
        hints: Arc<dyn HintSender>,
    ) -> Self {
        Self {
            db: db.into(),
            redis,
            hints,
        }
    }

    /// Runs once.
    pub async fn run_once(&self) -> store::Result<Kept> {
        let mut kept = Kept {
            skipped: self.skip().await?,
            ..Kept::default()
        };
        for workflow in bounded(stop::stopped(&self.db, BATCH)).await? {
            kept.stopped += self.sweep(workflow).await?;
            if bounded(stop::end(&self.db, workflow)).await? {
                info!(%workflow, "stopped workflow ended");
                kept.ended += 1;
            }
        }
        Ok(kept)
    }

    /// Sends the waves of skips that other processes left behind.
    async fn skip(&self) -> store::Result<usize> {
        let steps = bounded(steps::unskipped(&self.db, SKIP_AGE.as_secs_f64(), BATCH)).await?;
        let found = steps.len();
        let advance = Advance {
            to_skip: steps,
            ..Advance::default()
        };
        follow(&self.db, &self.hints, advance).await?;
        Ok(found)
    }

    /// Cancels the steps of a stopped workflow, pass after pass; returns how many were cancelled or told.
    /// Rows that others have locked are left for the next run.
    async fn sweep(&self, workflow: TaskId) -> store::Result<i64> {
        let mut stopped = 0;
        loop {
            let pass = retry_rolled_back(|| bounded(stop::sweep(&self.db, workflow, BATCH))).await?;
            let found = pass.cancelled + pass.told + pass.dead_letters;
            stopped += found;
            self.remove(&pass.hints).await;
            if found < BATCH {
                return Ok(stopped);
            }
        }
    }

    /// Removes the hints of steps that were pending.
    async fn remove(&self, hints: &[Hint]) {
        let Some(redis) = self.redis.as_ref().filter(|_| !hints.is_empty()) else {
            return;
        };
        if let Err(error) = redis.remove(hints).await {
            warn!(%error, "failed to remove the hints of cancelled steps; the leader removes them");
        }
    }
}

impl Duty for WorkflowKeeper {
    const NAME: &'static str = "workflow_keeper";
    type Outcome = Kept;

    async fn run(&mut self) -> Result<Kept, DutyError> {
        Ok(self.run_once().await?)
    }

    fn report(&self, kept: &Kept) {
        if kept.skipped > 0 {
            warn!(
                steps.skipped = kept.skipped,
                "skipped steps that another process left behind"
            );
        }
    }

    fn pause(&self, _: Option<&Kept>) -> Duration {
        INTERVAL
    }
}
