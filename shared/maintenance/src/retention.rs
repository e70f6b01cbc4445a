//! Retention: drops daily partitions of finished tasks and of the history without blocking writers (see
//! [`tasker_store::retention`]). A partition that cannot be dropped, because a transaction still
//! reads it or the run was interrupted, is left to the next run.

use std::time::Duration;

use tasker_store::partitions::TABLES;
use tasker_store::retention::{self, Partition, Stage};
use tasker_store::{self as store, ObservedPool};
use tracing::info;

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;

/// Time between runs.
const INTERVAL: Duration = Duration::from_mins(10);
/// Time until the next run after a partition that is still being read, or an outage.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// The duty that drops old partitions.
#[derive(Debug)]
pub struct PartitionDropper {
    db: ObservedPool,
    days: u32,
}

impl PartitionDropper {
    /// Creates the duty: `days` whole days besides today are kept, at least 1.
    pub fn new(db: impl Into<ObservedPool>, days: u32) -> Self {
        Self {
            db: db.into(),
            days: days.max(1),
        }
    }

    /// Drops all partitions that are past their retention; returns their number. If one cannot be dropped,
    /// the others are still tried before its error is returned.
    pub async fn run_once(&self) -> store::Result<usize> {
        let mut dropped = 0;
        let mut failed = None;
        for table in TABLES {
            for partition in bounded(retention::past(&self.db, table, self.days)).await? {
                match self.drop_partition(table, &partition).await {
                    Ok(()) => dropped += 1,
                    Err(error) => {
                        failed.get_or_insert(error);
                        // Postgres allows one concurrent detach per table at a time, so the later ones would
                        // fail as well
                        if partition.stage != Stage::Detached {
                            break;
                        }
                    }
                }
            }
        }
        failed.map_or(Ok(dropped), Err)
    }

    async fn drop_partition(&self, table: &'static str, partition: &Partition) -> store::Result<()> {
        match partition.stage {
            Stage::Attached => {
                bounded(retention::mark(&self.db, partition)).await?;
                bounded(retention::detach(&self.db, partition)).await?;
            }
            Stage::Leaving => bounded(retention::finish_detach(&self.db, partition)).await?,
            Stage::Detached => {}
        }
        bounded(retention::drop_table(&self.db, partition)).await?;
        metrics::counter!("tasker_partitions_dropped_total", "table" => table).increment(1);
        info!(partition.name, "dropped a partition");
        Ok(())
    }
}

impl Duty for PartitionDropper {
    const NAME: &'static str = "retention";
    const INTERRUPTIBLE: bool = true;
    type Outcome = usize;

    async fn run(&mut self) -> Result<usize, DutyError> {
        Ok(self.run_once().await?)
    }

    fn pause(&self, dropped: Option<&usize>) -> Duration {
        dropped.map_or(INTERVAL_AFTER_FAILURE, |_| INTERVAL)
    }
}
