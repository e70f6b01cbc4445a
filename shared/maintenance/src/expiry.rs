//! Deletes dead letters older than `DEAD_LETTER_RETENTION_DAYS`, together with their idempotency keys.
//!
//! An event for each deleted task stays in the history for `RETENTION_DAYS`.

use std::time::{Duration, Instant};

use tasker_core::task::TaskId;
use tasker_store::dead_letters::{Filter, purge_batch};
use tasker_store::{self as store, ObservedPool, retention};
use tokio::time::sleep;
use tracing::info;

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;

/// Maximum number of dead letters that one statement deletes. It locks them and their keys.
const BATCH: i64 = 1_000;
/// Maximum number of dead letters that one statement examines.
const LOOKED_AT: i64 = 10_000;
/// The actor recorded in the history.
const ACTOR: &str = "retention";

/// The duty that deletes expired dead letters.
#[derive(Debug)]
pub struct DeadLetterExpirer {
    db: ObservedPool,
    days: u32,
    interval: Duration,
}

impl DeadLetterExpirer {
    /// Creates the duty: dead letters are kept for `days` days, and it runs every `interval`.
    pub fn new(db: impl Into<ObservedPool>, days: u32, interval: Duration) -> Self {
        Self {
            db: db.into(),
            days,
            interval,
        }
    }

    /// Deletes all expired dead letters; returns their number.
    ///
    /// After each full batch it sleeps for as long as the batch took, so it uses at most half of one
    /// connection's time.
    pub async fn run_once(&self) -> store::Result<u64> {
        let as_of = bounded(retention::days_ago(&self.db, self.days)).await?;
        let all = Filter::default();
        let mut expired = 0;
        let mut above = TaskId::MIN;
        loop {
            let mut stretch = bounded(retention::dead_letters(&self.db, above, as_of, LOOKED_AT)).await?;
            above = stretch.position.up_to;
            // a stretch has a fixed upper id, so each statement reads a bounded range of the index however
            // few rows match
            loop {
                let began = Instant::now();
                let taken = bounded(purge_batch(&self.db, &all, stretch.position, BATCH, ACTOR)).await?;
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

impl Duty for DeadLetterExpirer {
    const NAME: &'static str = "dead_letter_expirer";
    const INTERRUPTIBLE: bool = true;
    type Outcome = u64;

    async fn run(&mut self) -> Result<u64, DutyError> {
        Ok(self.run_once().await?)
    }

    fn report(&self, expired: &u64) {
        if *expired > 0 {
            info!(dead_letters.expired = expired, "deleted expired dead letters");
        }
    }

    fn pause(&self, _: Option<&u64>) -> Duration {
        self.interval
    }
}
