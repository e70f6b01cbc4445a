//! Deletes dead letters that nobody has acted on for as long as they are kept, with the idempotency keys that they hold. An event
//! of each stays, for as long as the history is kept.

use std::time::{Duration, Instant};

use tasker_shared::store::dead_letters::{Filter, purge_batch};
use tasker_shared::store::{self, PgPool, retention};
use tasker_shared::task::TaskId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::asked;
use super::journal::Page;

/// Most dead letters of one statement, which locks them and their keys.
const BATCH: i64 = 1_000;
/// Most dead letters that one statement looks at.
const LOOKED_AT: i64 = 10_000;
/// Who did it, for the history.
const ACTOR: &str = "retention";

/// Deletes old dead letters.
#[derive(Debug)]
pub struct DeadLetterExpirer {
    db: PgPool,
    days: u32,
    interval: Duration,
}

impl DeadLetterExpirer {
    /// Keeps dead letters for `days` days; looks each `interval`.
    pub fn new(db: PgPool, days: u32, interval: Duration) -> Self {
        Self { db, days, interval }
    }

    /// Deletes until `stop`, which may cut a pass off.
    pub async fn run(self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pass = async {
                if let Some(expired @ 1..) = page.pass(self.run_once()).await {
                    info!(dead_letters.expired = expired, "retention: deleted dead letters");
                }
                sleep(self.interval).await;
            };
            stop.run_until_cancelled(pass).await;
        }
    }

    /// Deletes all dead letters that died at least so many days ago; returns how many. After each full batch it rests for as
    /// long as that took, so that a great many of them leave at least half of Postgres to others.
    pub async fn run_once(&self) -> store::Result<u64> {
        let as_of = asked(retention::days_ago(&self.db, self.days)).await?;
        let all = Filter::default();
        let mut expired = 0;
        let mut above = TaskId::MIN;
        loop {
            let mut stretch = asked(retention::dead_letters(&self.db, above, as_of, LOOKED_AT)).await?;
            above = stretch.position.up_to;
            loop {
                let began = Instant::now();
                let taken = asked(purge_batch(&self.db, &all, stretch.position, BATCH, ACTOR)).await?;
                expired += taken.len() as u64;
                metrics::counter!("tasker_dead_letters_expired_total").increment(taken.len() as u64);
                match taken.last() {
                    Some(last) if i64::try_from(taken.len()) == Ok(BATCH) => stretch.position.above = last.id,
                    _ => break,
                }
                sleep(began.elapsed()).await;
            }
            if stretch.last {
                return Ok(expired);
            }
        }
    }
}
