//! Folds what batches appended into the totals, and forgets those of long ago.

use std::time::Duration;

use tasker_shared::store::{self, PgPool, totals};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::asked;
use super::journal::Page;

/// Time between passes. Readers add up what is not folded yet, so nobody waits for one.
const INTERVAL: Duration = Duration::from_mins(1);
/// Most deltas of one statement.
const BATCH: i64 = 20_000;

/// Folds.
#[derive(Debug)]
pub struct TotalsFolder {
    db: PgPool,
}

impl TotalsFolder {
    /// A folder.
    pub fn new(db: PgPool) -> Self {
        Self { db }
    }

    /// Folds until `stop`.
    pub async fn run(self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            page.pass(self.run_once()).await;
            stop.run_until_cancelled(sleep(INTERVAL)).await;
        }
    }

    /// Folds everything that is there now, and returns how many deltas that were.
    pub async fn run_once(&self) -> store::Result<i64> {
        let mut folded = 0;
        loop {
            let batch = asked(totals::fold(&self.db, BATCH)).await?;
            folded += batch;
            if batch < BATCH {
                break;
            }
        }
        if let rows @ 1.. = asked(totals::forget(&self.db)).await? {
            info!(totals.forgotten = rows, "totals: forgot those of long ago");
        }
        Ok(folded)
    }
}
