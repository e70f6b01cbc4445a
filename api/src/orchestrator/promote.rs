//! Promotes what is due: the row first, its hint after the commit.

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::store::promote::{next_due_in, promote};
use tasker_shared::store::{self, PgPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::asked;
use super::journal::Page;
use crate::submit::push::Pusher;

/// Most tasks of one statement.
const BATCH: i64 = 1_000;
/// The longest sleep: what is submitted meanwhile may be due before the next that was seen.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// The shortest sleep: a row that is due and still there is another server's, or somebody has it locked.
const SLEEP_MIN: Duration = Duration::from_millis(20);

/// Promotes due tasks.
#[derive(Debug)]
pub struct Promoter {
    db: PgPool,
    pusher: Arc<Pusher>,
}

impl Promoter {
    /// A promoter over `db`.
    pub fn new(db: PgPool, pusher: Arc<Pusher>) -> Self {
        Self { db, pusher }
    }

    /// Promotes until `stop`.
    pub async fn run(self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let next_due = page.pass(self.run_once()).await.flatten();
            let pause = next_due.unwrap_or(SLEEP_MAX).clamp(SLEEP_MIN, SLEEP_MAX);
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Promotes everything that is due; answers how long until the next is, if one waits. While nothing is due this is
    /// one cheap statement.
    pub async fn run_once(&self) -> store::Result<Option<Duration>> {
        let next_due = asked(next_due_in(&self.db)).await?;
        if next_due != Some(Duration::ZERO) {
            return Ok(next_due);
        }
        loop {
            let promoted = asked(promote(&self.db, BATCH)).await?;
            let full = i64::try_from(promoted.len()) == Ok(BATCH);
            metrics::counter!("tasker_promoted_total").increment(promoted.len() as u64);
            self.pusher.push(promoted).await;
            if !full {
                return asked(next_due_in(&self.db)).await;
            }
        }
    }
}
