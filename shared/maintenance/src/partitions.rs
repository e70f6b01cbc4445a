//! Creates the daily partitions of the coming two weeks.

use std::time::Duration;

use tasker_store::{self as store, ObservedPool, partitions};
use tracing::info;

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;

/// Time between runs. Partitions are created two weeks ahead, so a delay of an hour does no harm.
const INTERVAL: Duration = Duration::from_hours(1);
/// Time until the next run after a lock timeout or an outage.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// The duty that creates partitions.
#[derive(Debug)]
pub struct PartitionKeeper {
    db: ObservedPool,
}

impl PartitionKeeper {
    /// Creates the duty.
    pub fn new(db: impl Into<ObservedPool>) -> Self {
        Self { db: db.into() }
    }

    /// Creates the missing partitions; returns their number.
    pub async fn run_once(&self) -> store::Result<i32> {
        let made = bounded(partitions::ensure(&self.db)).await?;
        metrics::counter!("tasker_partitions_created_total")
            .increment(u64::try_from(made).unwrap_or_default());
        Ok(made)
    }
}

impl Duty for PartitionKeeper {
    const NAME: &'static str = "partition_keeper";
    type Outcome = i32;

    async fn run(&mut self) -> Result<i32, DutyError> {
        Ok(self.run_once().await?)
    }

    fn report(&self, made: &i32) {
        if *made > 0 {
            info!(partitions.created = made, "created partitions");
        }
    }

    fn pause(&self, made: Option<&i32>) -> Duration {
        made.map_or(INTERVAL_AFTER_FAILURE, |_| INTERVAL)
    }
}
