//! Deletes expired idempotency keys and the rows of workers that died more than an hour ago.

use std::time::Duration;

use tasker_store::{self as store, ObservedPool, idempotency_keys, recover};
use tracing::info;

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;

/// Maximum number of keys per statement.
const BATCH: i64 = 1_000;
/// Time that a dead worker stays listed, so that an operator sees that it died.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// The duty that deletes expired keys and old workers.
#[derive(Debug)]
pub struct Cleaner {
    db: ObservedPool,
    interval: Duration,
    key_ttl: Duration,
}

/// The result of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cleaned {
    /// Keys deleted.
    pub keys: i64,
    /// Worker rows deleted.
    pub workers: u64,
}

impl Cleaner {
    /// Creates the duty, which runs every `interval`. Expired keys of unfinished tasks are extended by
    /// `key_ttl`.
    pub fn new(db: impl Into<ObservedPool>, interval: Duration, key_ttl: Duration) -> Self {
        Self {
            db: db.into(),
            interval,
            key_ttl,
        }
    }

    /// Runs once: deletes everything that has expired, in batches.
    pub async fn run_once(&self) -> store::Result<Cleaned> {
        let mut done = Cleaned::default();
        loop {
            let tidied = bounded(idempotency_keys::tidy(
                &self.db,
                self.key_ttl.as_secs_f64(),
                BATCH,
            ))
            .await?;
            done.keys += tidied.deleted;
            metrics::counter!("tasker_idempotency_keys_deleted_total")
                .increment(tidied.deleted.unsigned_abs());
            // both outcomes take the key out of the expired ones, so the loop ends; a batch below the limit
            // was the last
            if tidied.deleted + tidied.prolonged < BATCH {
                break;
            }
        }
        done.workers = bounded(recover::forget_dead(&self.db, FORGET_AFTER.as_secs_f64())).await?;
        metrics::counter!("tasker_workers_removed_total").increment(done.workers);
        Ok(done)
    }
}

impl Duty for Cleaner {
    const NAME: &'static str = "cleaner";
    type Outcome = Cleaned;

    async fn run(&mut self) -> Result<Cleaned, DutyError> {
        Ok(self.run_once().await?)
    }

    fn report(&self, done: &Cleaned) {
        if *done != Cleaned::default() {
            info!(
                keys = done.keys,
                workers = done.workers,
                "deleted expired idempotency keys and dead workers"
            );
        }
    }

    fn pause(&self, _: Option<&Cleaned>) -> Duration {
        self.interval
    }
}
