//! Keeps partitions ahead of the calendar.

use std::time::Duration;

use tasker_shared::store::{self, PgPool, partitions};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::asked;
use super::journal::Page;

/// A day is made two weeks before it begins, so an hour more or less does not matter.
const INTERVAL: Duration = Duration::from_hours(1);
/// After a lock that could not be had, or an outage.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// Makes partitions.
#[derive(Debug)]
pub struct PartitionKeeper {
    db: PgPool,
}

impl PartitionKeeper {
    /// A keeper over `db`.
    pub fn new(db: PgPool) -> Self {
        Self { db }
    }

    /// Makes what is missing, until `stop`.
    pub async fn run(self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let made = page.pass(self.run_once()).await;
            if let Some(made @ 1..) = made {
                info!(partitions.made = made, "partition keeper: made partitions");
            }
            let pause = made.map_or(INTERVAL_AFTER_FAILURE, |_| INTERVAL);
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Makes what is missing; answers how many that were.
    pub async fn run_once(&self) -> store::Result<i32> {
        let made = asked(partitions::ensure(&self.db)).await?;
        metrics::counter!("tasker_partitions_created_total")
            .increment(u64::try_from(made).unwrap_or_default());
        Ok(made)
    }
}
