//! Drops the partitions of finished tasks and of the history that are past their retention. Nobody waits for it (see
//! [`tasker_shared::store::retention`]); what a pass could not do, because somebody reads or a pass was cut off, the next one does.

use std::time::Duration;

use tasker_shared::store::partitions::TABLES;
use tasker_shared::store::retention::{self, Partition, Stage};
use tasker_shared::store::{self, PgPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::asked;
use super::journal::Page;

/// A day that is over goes some minutes later.
const INTERVAL: Duration = Duration::from_mins(10);
/// After a partition that somebody still reads, or an outage.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// Drops old partitions.
#[derive(Debug)]
pub struct PartitionDropper {
    db: PgPool,
    days: u32,
}

impl PartitionDropper {
    /// Keeps `days` whole days besides today, at least 1.
    pub fn new(db: PgPool, days: u32) -> Self {
        Self {
            db,
            days: days.max(1),
        }
    }

    /// Drops until `stop`, which may cut a pass off.
    pub async fn run(self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pass = async {
                let pause = match page.pass(self.run_once()).await {
                    Some(_) => INTERVAL,
                    None => INTERVAL_AFTER_FAILURE,
                };
                sleep(pause).await;
            };
            stop.run_until_cancelled(pass).await;
        }
    }

    /// Drops all partitions that are past their retention, and returns how many those were. One that cannot be dropped now is
    /// an error only after the others had their turn.
    pub async fn run_once(&self) -> store::Result<usize> {
        let mut dropped = 0;
        let mut failed = None;
        for table in TABLES {
            for partition in asked(retention::past(&self.db, table, self.days)).await? {
                match self.drop_partition(table, &partition).await {
                    Ok(()) => dropped += 1,
                    Err(error) => {
                        failed.get_or_insert(error);
                        // only one partition of a table can be leaving
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
                asked(retention::mark(&self.db, partition)).await?;
                asked(retention::detach(&self.db, partition)).await?;
            }
            Stage::Leaving => asked(retention::finish_detach(&self.db, partition)).await?,
            Stage::Detached => {}
        }
        asked(retention::drop_table(&self.db, partition)).await?;
        metrics::counter!("tasker_partitions_dropped_total", "table" => table).increment(1);
        info!(partition.name, "retention: dropped a partition");
        Ok(())
    }
}
