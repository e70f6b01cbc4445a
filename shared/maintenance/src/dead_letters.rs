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
use tasker_store::{self as store, ErrorKind, ObservedPool, retry_rolled_back};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::hints::HintSender;

/// Maximum number of concurrent operations: a long one does not block another, and submits keep most of the
/// connections.
const OPERATIONS_MAX: usize = 2;
/// Maximum number of rows per statement, whose locks are then held for about 10 ms.
const BATCH_ROWS: i64 = 500;
/// Maximum wait of an operation for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The error of an operation.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// As many operations as may run at once are running.
    #[error("other bulk operations on dead letters are running")]
    Busy,
    /// The dead letters could not be counted, and none was changed.
    #[error("{0}")]
    Count(store::Error),
    /// The first batch failed.
    #[error("{0}")]
    Write(store::Error),
    /// The operation ended half-way, so that some dead letters were changed.
    #[error("the bulk operation was interrupted")]
    Interrupted,
}

/// The bulk operations of a server.
#[derive(Debug, Clone)]
pub struct BulkOperations {
    db: ObservedPool,
    hints: Arc<dyn HintSender>,
    key_ttl: Duration,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
}

impl BulkOperations {
    /// Creates the operations, as background tasks of `shutdown`. The keys of retried tasks hold for at least
    /// `key_ttl`.
    pub fn new(
        db: impl Into<ObservedPool>,
        hints: Arc<dyn HintSender>,
        key_ttl: Duration,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            db: db.into(),
            hints,
            key_ttl,
            shutdown,
            permits: Arc::new(Semaphore::new(OPERATIONS_MAX)),
        }
    }

    /// Counts the matching dead letters.
    pub async fn count(&self, filter: &Filter) -> Result<Outcome, BulkError> {
        let matched = dead_letters::matched(&self.db, filter).await;
        Ok(Outcome {
            matched: matched.map_err(BulkError::Count)?.count.unsigned_abs(),
            ..Outcome::default()
        })
    }

    /// Applies `action` to all matching dead letters. `actor` is recorded in the history.
    pub async fn carry_out(&self, action: Action, filter: Filter, actor: &str) -> Result<Outcome, BulkError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(BulkError::Busy);
        };
        let operation = BulkOperation {
            parts: self.clone(),
            action,
            filter,
            actor: actor.to_owned(),
            done: 0,
        };
        let running = self.shutdown.tracker().spawn(async move {
            // held by the operation and not by the request, whose client may disconnect and start another one
            let _turn = turn;
            operation.run().await
        });
        running.await.unwrap_or(Err(BulkError::Interrupted))
    }
}

/// A running operation.
struct BulkOperation {
    parts: BulkOperations,
    action: Action,
    filter: Filter,
    actor: String,
    done: usize,
}

impl BulkOperation {
    async fn run(mut self) -> Result<Outcome, BulkError> {
        let matched = dead_letters::matched(&self.parts.db, &self.filter)
            .await
            .map_err(BulkError::Count)?;
        let mut position = Position {
            above: TaskId::MIN,
            up_to: TaskId::MAX,
            as_of: matched.as_of,
        };
        let mut found = 0;
        loop {
            let taken = match retry_rolled_back(|| self.batch(position)).await {
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
            if self.parts.shutdown.soft().is_cancelled() {
                warn!(
                    done = self.done,
                    "bulk operation on dead letters interrupted by the shutdown"
                );
                return Err(BulkError::Interrupted);
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
        let (db, filter) = (&self.parts.db, &self.filter);
        match self.action {
            Action::Retry => {
                let ttl = self.parts.key_ttl.as_secs_f64();
                dead_letters::retry_batch(db, filter, position, BATCH_ROWS, &self.actor, ttl).await
            }
            Action::Purge => dead_letters::purge_batch(db, filter, position, BATCH_ROWS, &self.actor).await,
        }
    }

    async fn finish(&mut self, taken: Vec<Taken>) {
        let done = taken.into_iter().filter(|taken| taken.done);
        let hints: Vec<Hint> = done
            .map(|taken| Hint::new(taken.id, taken.queue, taken.task_name).with_priority(taken.priority))
            .collect();
        self.done += hints.len();
        let action = match self.action {
            Action::Retry => "retry",
            Action::Purge => "purge",
        };
        metrics::counter!("tasker_operator_actions_total", "action" => action).increment(hints.len() as u64);
        // after the commit of the batch: a hint whose row is not pending yet would be dropped as stale
        if matches!(self.action, Action::Retry) {
            self.parts.hints.push(hints).await;
        }
    }

    /// Returns the error after a failed batch; earlier batches may have been committed.
    fn broken_off(&self, error: store::Error) -> BulkError {
        if self.done == 0 || error.kind() == ErrorKind::Row {
            return BulkError::Write(error);
        }
        warn!(
            cause = %error,
            done = self.done,
            "bulk operation on dead letters failed half-way"
        );
        BulkError::Interrupted
    }
}
