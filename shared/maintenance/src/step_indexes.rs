//! Builds the index of finished steps on partitions from before workflows (see
//! [`tasker_store::step_indexes`]).

use std::time::Duration;

use tasker_store::{self as store, ObservedPool, step_indexes};
use tracing::info;

use crate::duty::Duty;
use crate::duty_status::DutyError;

/// Time between runs. New partitions have the index, so there is work only after an upgrade.
const INTERVAL: Duration = Duration::from_hours(1);
/// Time until the next run after a failure.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// The duty that builds missing indexes.
#[derive(Debug)]
pub struct StepIndexer {
    db: ObservedPool,
}

impl StepIndexer {
    /// Creates the duty.
    pub fn new(db: impl Into<ObservedPool>) -> Self {
        Self { db: db.into() }
    }

    /// Builds the missing indexes, one after the other; returns their number. A build takes as long as
    /// reading its partition and blocks no statement.
    pub async fn run_once(&self) -> store::Result<usize> {
        let built = step_indexes::build(self.db.pool()).await?;
        metrics::counter!("tasker_step_indexes_built_total").increment(built as u64);
        Ok(built)
    }
}

impl Duty for StepIndexer {
    const NAME: &'static str = "step_indexer";
    const INTERRUPTIBLE: bool = true;
    type Outcome = usize;

    async fn run(&mut self) -> Result<usize, DutyError> {
        Ok(self.run_once().await?)
    }

    fn report(&self, built: &usize) {
        if *built > 0 {
            info!(
                indexes.built = built,
                "built the index of finished steps on older partitions"
            );
        }
    }

    fn pause(&self, built: Option<&usize>) -> Duration {
        built.map_or(INTERVAL_AFTER_FAILURE, |_| INTERVAL)
    }
}
