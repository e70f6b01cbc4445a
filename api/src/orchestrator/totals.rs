//! Folds the deltas that batches appended into the daily totals, and deletes expired totals.

use std::time::Duration;

use tasker_store::{self as store, totals};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::bounded;
use super::duty_status::DutyRecorder;
use crate::db::Db;

/// Time between runs. Readers add the deltas that are not folded yet, so a late run changes no answer.
const INTERVAL: Duration = Duration::from_mins(1);
/// Number of table blocks per statement: at most about 30,000 deltas.
const BLOCKS: i64 = 256;
/// Number of blocks (64 MiB) above which the table is shrunk: only an outage or an old snapshot lets it grow
/// that far.
const LARGE: i64 = 8_192;

/// The duty that folds the totals.
#[derive(Debug)]
pub struct TotalsFolder {
    db: Db,
}

impl TotalsFolder {
    /// Creates the duty.
    pub fn new(db: impl Into<Db>) -> Self {
        Self { db: db.into() }
    }

    /// Runs until `stop`, which may interrupt a run.
    pub async fn run(self, recorder: DutyRecorder, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let run = async {
                recorder.record(self.run_once()).await;
                sleep(INTERVAL).await;
            };
            stop.run_until_cancelled(run).await;
        }
    }

    /// Folds all deltas that are there now; returns their number.
    pub async fn run_once(&self) -> store::Result<i64> {
        let blocks = bounded(totals::blocks(&self.db)).await?;
        // by ranges of blocks: the table has no index, so that an append costs as little as possible
        let (mut folded, mut from) = (0, 0);
        while from < blocks {
            folded += bounded(totals::fold(&self.db, from, from + BLOCKS)).await?;
            from += BLOCKS;
        }
        if blocks > LARGE {
            bounded(totals::shrink(&self.db)).await?;
        }
        if let rows @ 1.. = bounded(totals::forget(&self.db)).await? {
            info!(totals.deleted = rows, "deleted expired totals");
        }
        Ok(folded)
    }
}
