//! Deletes expired idempotency keys, the rows of workers that died more than an hour ago, and definitions
//! that no workflow refers to any more.

use std::time::{Duration, Instant};

use tasker_store::{self as store, ObservedPool, idempotency_keys, recover, workflow_definitions};
use tracing::info;

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;

/// Maximum number of keys per statement.
const BATCH: i64 = 1_000;
/// Time that a dead worker stays listed, so that an operator sees that it died.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// Time between searches for definitions that are not used.
const DEFINITIONS_INTERVAL: Duration = Duration::from_hours(1);
/// Timeout of such a search, which may read all finished workflows.
const DEFINITIONS_MAX: Duration = Duration::from_mins(5);

/// The duty that deletes expired keys, old workers and unused definitions.
#[derive(Debug)]
pub struct Cleaner {
    db: ObservedPool,
    interval: Duration,
    key_ttl: Duration,
    /// The days after which a definition may be deleted; `None` keeps them.
    definition_days: Option<u32>,
    definitions_searched: Option<Instant>,
}

/// The result of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cleaned {
    /// Keys deleted.
    pub keys: i64,
    /// Worker rows deleted.
    pub workers: u64,
    /// Definitions of workflows deleted.
    pub definitions: i64,
}

impl Cleaner {
    /// Creates the duty, which runs every `interval`. Expired keys of unfinished tasks are extended by
    /// `key_ttl`.
    pub fn new(db: impl Into<ObservedPool>, interval: Duration, key_ttl: Duration) -> Self {
        Self {
            db: db.into(),
            interval,
            key_ttl,
            definition_days: None,
            definitions_searched: None,
        }
    }

    /// Deletes definitions too that no workflow was started with for `days` days and that none refers to.
    #[must_use]
    pub fn deleting_definitions(mut self, days: u32) -> Self {
        self.definition_days = Some(days);
        self
    }

    /// Runs once: deletes everything that has expired, in batches.
    pub async fn run_once(&mut self) -> store::Result<Cleaned> {
        let mut done = Cleaned::default();
        for of_workflows in [false, true] {
            // both outcomes take the key out of the expired ones, so the loop ends; a batch below the limit
            // was the last
            while self.tidy(of_workflows, &mut done).await? == BATCH {}
        }
        done.workers = bounded(recover::forget_dead(&self.db, FORGET_AFTER.as_secs_f64())).await?;
        metrics::counter!("tasker_workers_removed_total").increment(done.workers);
        done.definitions = self.delete_definitions().await?;
        Ok(done)
    }

    /// Checks a batch of expired keys, of tasks or of workflows; returns their number.
    async fn tidy(&self, of_workflows: bool, done: &mut Cleaned) -> store::Result<i64> {
        let ttl = self.key_ttl.as_secs_f64();
        let tidied = if of_workflows {
            bounded(idempotency_keys::tidy_workflows(&self.db, ttl, BATCH)).await?
        } else {
            bounded(idempotency_keys::tidy(&self.db, ttl, BATCH)).await?
        };
        done.keys += tidied.deleted;
        metrics::counter!("tasker_idempotency_keys_deleted_total").increment(tidied.deleted.unsigned_abs());
        Ok(tidied.deleted + tidied.prolonged)
    }

    async fn delete_definitions(&mut self) -> store::Result<i64> {
        let is_due = self
            .definitions_searched
            .is_none_or(|searched| searched.elapsed() >= DEFINITIONS_INTERVAL);
        let Some(days) = self.definition_days.filter(|_| is_due) else {
            return Ok(0);
        };
        self.definitions_searched = Some(Instant::now());
        let search = workflow_definitions::delete_unused(&self.db, days, BATCH);
        let deleted = store::bounded(DEFINITIONS_MAX, search).await?.deleted;
        metrics::counter!("tasker_workflow_definitions_deleted_total").increment(deleted.unsigned_abs());
        Ok(deleted)
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
                definitions = done.definitions,
                "deleted expired idempotency keys, dead workers and unused definitions"
            );
        }
    }

    fn pause(&self, _: Option<&Cleaned>) -> Duration {
        self.interval
    }
}
