//! Dead letters, many at once: a pass of bounded batches, each one statement.
//!
//! A pass is a task of the process: a client that hangs up does not stop it half way. It ends, since it takes only what
//! matched when it began; and it may be cut off between two batches, since each is whole by itself and a second request
//! goes on where the first one ended.

use std::time::Duration;

use tasker_shared::store::dead_letters::{self, Filter, Position, Taken};
use tasker_shared::store::{self, Fault, fault};
use tasker_shared::task::{Hint, TaskId};
use tracing::{info, warn};

use crate::db::{retried, write_failed};
use crate::error::{ApiError, describe};
use crate::state::AppState;

/// Passes at once: enough that a long one holds up no other, few enough that submits keep most connections.
pub const OPERATIONS_MAX: usize = 2;
/// Rows of one statement: their locks are held for some ten milliseconds.
const BATCH_ROWS: i64 = 500;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// What is done to dead letters.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// They run again.
    Retry,
    /// They are deleted.
    Purge,
}

/// What a pass came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Dead letters that matched.
    pub matched: u64,
    /// Those that the action was done to.
    pub done: u64,
    /// Those left as they were.
    pub skipped: u64,
}

/// Counts the dead letters that match.
pub async fn count(state: &AppState, filter: &Filter) -> Result<Outcome, ApiError> {
    let matched = dead_letters::matched(&state.db, filter).await?;
    Ok(Outcome {
        matched: matched.count.unsigned_abs(),
        ..Outcome::default()
    })
}

/// Does `action` to all dead letters that match. `actor` is who asked, for the history.
pub async fn carry_out(
    state: &AppState,
    action: Action,
    filter: Filter,
    actor: &str,
) -> Result<Outcome, ApiError> {
    let turn = tokio::time::timeout(TURN_TIMEOUT, state.dead_letter_operations.clone().acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(ApiError::Overloaded("Other requests are at the dead letters."));
    };
    let operation = BulkOperation {
        state: state.clone(),
        action,
        filter,
        actor: actor.to_owned(),
        done: 0,
    };
    let running = state.shutdown.tracker().spawn(async move {
        let _turn = turn;
        operation.run().await
    });
    running.await.unwrap_or(Err(ApiError::OutcomeUnknown))
}

struct BulkOperation {
    state: AppState,
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
                    "a pass over dead letters was cut off by the stop"
                );
                return Err(ApiError::OutcomeUnknown);
            }
        }
        info!(action = ?self.action, done = self.done, "went over the dead letters");
        // a task may die while the others are counted and be found after all
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
        if matches!(self.action, Action::Retry) {
            self.state.pusher.push(hints).await;
        }
    }

    /// What the client is told when a batch fails: before it others may have been done.
    fn broken_off(&self, error: store::Error) -> ApiError {
        if self.done == 0 || fault(&error) == Fault::Row {
            return write_failed(error);
        }
        warn!(
            cause = describe(&error),
            done = self.done,
            "a pass over dead letters broke off"
        );
        ApiError::OutcomeUnknown
    }
}
