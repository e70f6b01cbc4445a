//! Bulk operations on dead letters, in bounded batches of one statement each.
//!
//! An operation is a background task, so a client that disconnects does not stop it half-way. It terminates,
//! since it only takes dead letters that matched when it began. It may be interrupted between two batches:
//! each batch is complete by itself, and a second request continues with the rest.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::{Hint, TaskId};
use tasker_platform::lifecycle::Shutdown;
use tasker_store::dead_letters::{self, Filter, Position, Taken};
use tasker_store::{self as store, Fault, PgPool, fault};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::db::{retried, write_failed};
use crate::error::{ApiError, describe};
use crate::submit::push::Pusher;

/// Maximum number of concurrent operations: a long one does not block another, and submits keep most of the
/// connections.
const OPERATIONS_MAX: usize = 2;
/// Maximum number of rows per statement, whose locks are then held for about 10 ms.
const BATCH_ROWS: i64 = 500;
/// Maximum wait of a request for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The means of bulk operations, and the permits that limit them.
#[derive(Debug, Clone)]
pub struct BulkOperations {
    db: PgPool,
    pusher: Arc<Pusher>,
    /// The minimum lifetime of an idempotency key.
    key_ttl: Duration,
    /// Operations are background tasks of this.
    shutdown: Shutdown,
    turns: Arc<Semaphore>,
}

impl BulkOperations {
    /// Creates the permits of `OPERATIONS_MAX` operations.
    pub fn new(db: PgPool, pusher: Arc<Pusher>, key_ttl: Duration, shutdown: Shutdown) -> Self {
        Self {
            db,
            pusher,
            key_ttl,
            shutdown,
            turns: Arc::new(Semaphore::new(OPERATIONS_MAX)),
        }
    }
}

/// An operation on dead letters.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Makes them pending again.
    Retry,
    /// Deletes them.
    Purge,
}

/// The result of an operation, in numbers of dead letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that matched.
    pub matched: u64,
    /// Those that the action was done to.
    pub done: u64,
    /// Those left unchanged.
    pub skipped: u64,
}

/// Counts the matching dead letters.
pub async fn count(state: &BulkOperations, filter: &Filter) -> Result<Outcome, ApiError> {
    let matched = dead_letters::matched(&state.db, filter).await?;
    Ok(Outcome {
        matched: matched.count.unsigned_abs(),
        ..Outcome::default()
    })
}

/// Applies `action` to all matching dead letters. `actor` is recorded in the history.
pub async fn carry_out(
    state: &BulkOperations,
    action: Action,
    filter: Filter,
    actor: &str,
) -> Result<Outcome, ApiError> {
    let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&state.turns).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(ApiError::Overloaded(
            "Other bulk operations on dead letters are running.",
        ));
    };
    let operation = BulkOperation {
        state: state.clone(),
        action,
        filter,
        actor: actor.to_owned(),
        done: 0,
    };
    let running = state.shutdown.tracker().spawn(async move {
        // held by the operation and not by the request, whose client may disconnect and start another one
        let _turn = turn;
        operation.run().await
    });
    running.await.unwrap_or(Err(ApiError::OutcomeUnknown))
}

/// A running operation.
struct BulkOperation {
    state: BulkOperations,
    action: Action,
    filter: Filter,
    actor: String,
    done: usize,
}

impl BulkOperation {
    async fn run(mut self) -> Result<Outcome, ApiError> {
        let matched = dead_letters::matched(&self.state.db, &self.filter).await?;
        let mut position = Position {
            above: TaskId::MIN,
            up_to: TaskId::MAX,
            as_of: matched.as_of,
        };
        let mut found = 0;
        loop {
            let taken = match retried(|| self.batch(position)).await {
                Ok(taken) => taken,
                Err(error) => return Err(self.broken_off(error)),
            };
            found += taken.len();
            // skipped ones are passed as well, so every batch makes progress
            if let Some(last) = taken.last() {
                position.above = last.id;
            }
            let full = i64::try_from(taken.len()) == Ok(BATCH_ROWS);
            self.finish(taken).await;
            if !full {
                break;
            }
            if self.state.shutdown.soft().is_cancelled() {
                warn!(
                    done = self.done,
                    "bulk operation on dead letters interrupted by the shutdown"
                );
                return Err(ApiError::OutcomeUnknown);
            }
        }
        info!(action = ?self.action, done = self.done, "bulk operation on dead letters completed");
        // the count and the batches have different snapshots, so the batches may find more than was counted
        let matched = matched.count.unsigned_abs().max(found as u64);
        let done = self.done as u64;
        Ok(Outcome {
            matched,
            done,
            skipped: matched - done,
        })
    }

    async fn batch(&self, position: Position) -> store::Result<Vec<Taken>> {
        let (db, filter) = (&self.state.db, &self.filter);
        match self.action {
            Action::Retry => {
                let ttl = self.state.key_ttl.as_secs_f64();
                dead_letters::retry_batch(db, filter, position, BATCH_ROWS, &self.actor, ttl).await
            }
            Action::Purge => dead_letters::purge_batch(db, filter, position, BATCH_ROWS, &self.actor).await,
        }
    }

    async fn finish(&mut self, taken: Vec<Taken>) {
        let done = taken.into_iter().filter(|taken| taken.done);
        let hints: Vec<Hint> = done
            .map(|taken| Hint::new(taken.id, taken.queue, taken.task_name))
            .collect();
        self.done += hints.len();
        let action = match self.action {
            Action::Retry => "retry",
            Action::Purge => "purge",
        };
        metrics::counter!("tasker_operator_actions_total", "action" => action).increment(hints.len() as u64);
        // after the commit of the batch: a hint whose row is not pending yet would be dropped as stale
        if matches!(self.action, Action::Retry) {
            self.state.pusher.push(hints).await;
        }
    }

    /// Returns the error for the client after a failed batch; earlier batches may have been committed.
    fn broken_off(&self, error: store::Error) -> ApiError {
        if self.done == 0 || fault(&error) == Fault::Row {
            return write_failed(error);
        }
        warn!(
            cause = describe(&error),
            done = self.done,
            "bulk operation on dead letters failed half-way"
        );
        ApiError::OutcomeUnknown
    }
}
