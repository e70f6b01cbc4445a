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
/// Blocks of one statement: at most some 30,000 deltas.
const BLOCKS: i64 = 256;
/// A file of more blocks (64 megabytes) is what an outage or an old snapshot left behind: no minute brings so many deltas.
const LARGE: i64 = 8_192;

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

    /// Folds until `stop`, which may cut a pass off.
    pub async fn run(self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pass = async {
                page.pass(self.run_once()).await;
                sleep(INTERVAL).await;
            };
            stop.run_until_cancelled(pass).await;
        }
    }

    /// Folds everything that is there now, and returns how many deltas that were.
    pub async fn run_once(&self) -> store::Result<i64> {
        let blocks = asked(totals::blocks(&self.db)).await?;
        let (mut folded, mut from) = (0, 0);
        while from < blocks {
            folded += asked(totals::fold(&self.db, from, from + BLOCKS)).await?;
            from += BLOCKS;
        }
        if blocks > LARGE {
            asked(totals::shrink(&self.db)).await?;
        }
        if let rows @ 1.. = asked(totals::forget(&self.db)).await? {
            info!(totals.forgotten = rows, "totals: forgot those of long ago");
        }
        Ok(folded)
    }
}
