//! Cleans up what nobody needs any more: idempotency keys whose time is over, and workers that died a while ago.

use std::time::Duration;

use tasker_shared::store::{self, PgPool, keys, recover};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::asked;
use super::journal::Page;

/// Most keys of one statement.
const BATCH: i64 = 1_000;
/// How long a dead worker is still shown, so that an operator sees that it died.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// Cleans up.
#[derive(Debug)]
pub struct Cleaner {
    db: PgPool,
    interval: Duration,
    key_ttl: Duration,
}

/// What a pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cleaned {
    /// Keys deleted.
    pub keys: i64,
    /// Workers forgotten.
    pub workers: u64,
}

impl Cleaner {
    /// A cleaner that works each `interval`; keys of tasks that are not over are prolonged by `key_ttl`.
    pub fn new(db: PgPool, interval: Duration, key_ttl: Duration) -> Self {
        Self {
            db,
            interval,
            key_ttl,
        }
    }

    /// Cleans until `stop`.
    pub async fn run(self, page: Page, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Some(done) = page.pass(self.run_once()).await
                && done != Cleaned::default()
            {
                info!(keys = done.keys, workers = done.workers, "cleaner: cleaned up");
            }
            stop.run_until_cancelled(sleep(self.interval)).await;
        }
    }

    /// One pass over everything that can go.
    pub async fn run_once(&self) -> store::Result<Cleaned> {
        let mut done = Cleaned::default();
        loop {
            let tidied = asked(keys::tidy(&self.db, self.key_ttl.as_secs_f64(), BATCH)).await?;
            done.keys += tidied.deleted;
            metrics::counter!("tasker_idempotency_keys_deleted_total")
                .increment(tidied.deleted.unsigned_abs());
            if tidied.deleted + tidied.prolonged < BATCH {
                break;
            }
        }
        done.workers = asked(recover::forget_dead(&self.db, FORGET_AFTER.as_secs_f64())).await?;
        metrics::counter!("tasker_workers_removed_total").increment(done.workers);
        Ok(done)
    }
}
