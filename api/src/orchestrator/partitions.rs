//! Creates the daily partitions of the coming two weeks.

use std::time::Duration;

use tasker_store::{self as store, partitions};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::bounded;
use super::duty_status::DutyRecorder;
use crate::db::Db;

/// Time between runs. Partitions are created two weeks ahead, so a delay of an hour does no harm.
const INTERVAL: Duration = Duration::from_hours(1);
/// Time until the next run after a lock timeout or an outage.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// The duty that creates partitions.
#[derive(Debug)]
pub struct PartitionKeeper {
    db: Db,
}

impl PartitionKeeper {
    /// Creates the duty.
    pub fn new(db: impl Into<Db>) -> Self {
        Self { db: db.into() }
    }

    /// Runs until `stop`.
    pub async fn run(self, recorder: DutyRecorder, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let made = recorder.record(self.run_once()).await;
            if let Some(made @ 1..) = made {
                info!(partitions.created = made, "created partitions");
            }
            let pause = made.map_or(INTERVAL_AFTER_FAILURE, |_| INTERVAL);
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Creates the missing partitions; returns their number.
    pub async fn run_once(&self) -> store::Result<i32> {
        let made = bounded(partitions::ensure(&self.db)).await?;
        metrics::counter!("tasker_partitions_created_total")
            .increment(u64::try_from(made).unwrap_or_default());
        Ok(made)
    }
}
