//! Folds the deltas that batches appended into the daily totals, and deletes expired totals.

use std::time::Duration;

use tasker_store::{self as store, ObservedPool, totals};
use tracing::info;

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;

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
    db: ObservedPool,
}

impl TotalsFolder {
    /// Creates the duty.
    pub fn new(db: impl Into<ObservedPool>) -> Self {
        Self { db: db.into() }
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

impl Duty for TotalsFolder {
    const NAME: &'static str = "totals";
    const INTERRUPTIBLE: bool = true;
    type Outcome = i64;

    async fn run(&mut self) -> Result<i64, DutyError> {
        Ok(self.run_once().await?)
    }

    fn pause(&self, _: Option<&i64>) -> Duration {
        INTERVAL
    }
}
