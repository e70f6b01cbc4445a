//! The lane of batch requests: each is written by one statement or transaction, at most two at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_core::task::TaskStatus;
use tasker_platform::lifecycle::Shutdown;
use tasker_store::idempotency_keys::holders;
use tasker_store::insert::{Inserted, NewTask, insert};
use tasker_store::{self as store, ErrorKind, PgConnection, begin, commit, retry_rolled_back};
use tokio::sync::Semaphore;
use tracing::warn;

use super::announce::announce;
use super::answer::{Accepted, Rejection};
use super::dedupe::{dedupe, same_request};
use super::flush::{answer_from, holder_of, keys_of};
use super::push::Pusher;
use super::ticket::Ticket;
use super::wait::wait_for;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::budget::Reservation;
use crate::postgres::PostgresHealth;
use crate::validation_error::{ValidationError, ValidationErrorKind};

/// Maximum number of concurrent batches. Two keep Postgres busy; more would only slow down single submits.
const AT_ONCE: usize = 2;
/// Maximum wait of a batch for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum wait of a caller for its batch while Postgres answers health probes; otherwise it waits less than
/// two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of the statement. Its caller stops waiting before it.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum number of tries for a batch whose keys were released during the write.
const TRIES_MAX: u32 = 5;
/// Maximum number of validation errors in an answer.
const ERRORS_MAX: usize = 100;

/// The writer of batch requests.
#[derive(Debug, Clone)]
pub struct BatchLane {
    db: Db,
    postgres: Arc<PostgresHealth>,
    pusher: Arc<Pusher>,
    key_ttl_seconds: f64,
    turns: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// The result of a try to write a batch.
enum Attempt {
    /// All tasks are committed.
    Accepted(Vec<Accepted>),
    /// The request is at fault, or Postgres is unavailable.
    Rejected(ApiError),
    /// A key was released between the insert and the lookup of its holder.
    KeyMoved,
}

impl BatchLane {
    /// Creates a lane whose writes are background tasks of `shutdown`.
    pub fn new(
        db: Db,
        postgres: Arc<PostgresHealth>,
        pusher: Arc<Pusher>,
        key_ttl: Duration,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            db,
            postgres,
            pusher,
            key_ttl_seconds: key_ttl.as_secs_f64(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            shutdown,
        }
    }

    /// Writes all of `tasks` or none; returns the answers in their order.
    pub async fn submit(
        &self,
        tasks: Vec<NewTask>,
        reservation: Reservation,
    ) -> Result<Vec<Accepted>, ApiError> {
        let lane = self.clone();
        let ticket = Arc::new(Ticket::default());
        let taken = Arc::clone(&ticket);
        // a background task: if the caller's future were dropped half-way, it would leave an open transaction
        let writing = self.shutdown.tracker().spawn(async move {
            let _reservation = reservation;
            let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&lane.turns).acquire_owned()).await;
            let Ok(Ok(_turn)) = turn else {
                return Err(ApiError::Overloaded(
                    "Other batches are being written, and this one waited too long for its turn.",
                ));
            };
            if !taken.take() {
                return Err(ApiError::Unavailable(None));
            }
            lane.write(&tasks).await
        });
        let written = async { writing.await.ok() };
        wait_for(written, ANSWER_TIMEOUT, &ticket, &self.postgres).await?
    }

    async fn write(&self, tasks: &[NewTask]) -> Result<Vec<Accepted>, ApiError> {
        let began = Instant::now();
        let mut tries = 0;
        let accepted = loop {
            tries += 1;
            match retry_rolled_back(|| self.try_write(tasks)).await {
                Ok(Attempt::Accepted(accepted)) => break accepted,
                Ok(Attempt::Rejected(error)) => return Err(error),
                Ok(Attempt::KeyMoved) if tries < TRIES_MAX => {}
                Ok(Attempt::KeyMoved) => return Err(ApiError::Unavailable(None)),
                Err(error) => return Err(answer_to(&error)),
            }
        };
        let stored = tasks.iter().zip(&accepted);
        let stored = stored.filter(|(_, accepted)| !accepted.deduplicated);
        let stored = stored.map(|(task, accepted)| (task, accepted.status));
        announce(&self.pusher, stored.collect()).await;
        metrics::histogram!("tasker_submit_batch_seconds").record(began.elapsed());
        #[expect(
            clippy::cast_precision_loss,
            reason = "a batch has ten thousand tasks at most"
        )]
        metrics::histogram!("tasker_submit_batch_tasks").record(tasks.len() as f64);
        Ok(accepted)
    }

    async fn try_write(&self, tasks: &[NewTask]) -> store::Result<Attempt> {
        let Ok(mut connection) = self.db.acquire().await else {
            // no statement was sent
            return Ok(Attempt::Rejected(ApiError::Unavailable(None)));
        };
        let writing = async {
            if tasks.iter().any(|task| task.key.is_some()) {
                return self.write_with_keys(&mut connection, tasks).await;
            }
            // without keys no task can conflict, so a single statement is all or nothing without a
            // transaction
            let inserted = insert(&mut *connection, tasks, self.key_ttl_seconds).await?;
            let accepted = tasks.iter().map(|task| accepted(task, &inserted)).collect();
            Ok(Attempt::Accepted(accepted))
        };
        let written = self.postgres.call(store::bounded(WRITE_TIMEOUT, writing)).await;
        if written.is_err() {
            // its transaction may still be open, so the connection must not go back to the pool
            drop(connection.detach());
        }
        written
    }

    /// Writes a batch with keys, in a transaction: conflicting keys are known only after the insert, and
    /// reject the whole batch.
    async fn write_with_keys(
        &self,
        connection: &mut PgConnection,
        tasks: &[NewTask],
    ) -> store::Result<Attempt> {
        let duplicates = dedupe(tasks.iter());
        let firsts: Vec<NewTask> = tasks
            .iter()
            .zip(&duplicates)
            .filter(|(_, first)| first.is_none())
            .map(|(task, _)| task.clone())
            .collect();
        let mut transaction = begin(connection).await?;
        let inserted = insert(&mut *transaction, &firsts, self.key_ttl_seconds).await?;
        let conflicts = keys_of(firsts.iter().filter(|task| inserted.status(task).is_none()));
        let found = match conflicts.as_slice() {
            [] => Vec::new(),
            keys => holders(&mut *transaction, keys).await?,
        };
        let mut answers: Vec<Result<Accepted, Rejection>> = Vec::with_capacity(tasks.len());
        for task in &firsts {
            answers.push(match (inserted.status(task), holder_of(task, &found)) {
                (Some(status), _) => Ok(Accepted::new(task, status)),
                (None, Some(holder)) => answer_from(task, holder),
                // the lookup deletes expired keys. The rollback undoes that, so it is repeated outside of the
                // transaction before the batch is tried again
                (None, None) => {
                    transaction.rollback().await?;
                    holders(&self.db, &conflicts).await?;
                    return Ok(Attempt::KeyMoved);
                }
            });
        }
        let answers = spread(tasks, &firsts, &duplicates, &answers);
        match all_accepted(answers) {
            Ok(accepted) => {
                commit(transaction).await?;
                Ok(Attempt::Accepted(accepted))
            }
            Err(errors) => {
                transaction.rollback().await?;
                Ok(Attempt::Rejected(ApiError::Invalid(errors)))
            }
        }
    }
}

fn answer_to(error: &store::Error) -> ApiError {
    if error.kind().may_have_happened() {
        warn!(cause = %error, "outcome of a batch is unknown");
    } else {
        warn!(cause = %error, "Postgres rejected a batch");
    }
    match error.kind() {
        ErrorKind::Row => ApiError::invalid(
            ValidationErrorKind::Unstorable,
            "/tasks",
            "has a task with a value that cannot be stored",
        ),
        ErrorKind::Outage | ErrorKind::RolledBack => ApiError::Unavailable(None),
        ErrorKind::Unknown | ErrorKind::TimedOut => ApiError::OutcomeUnknown,
    }
}

fn accepted(task: &NewTask, inserted: &Inserted) -> Accepted {
    Accepted::new(task, inserted.status(task).unwrap_or(TaskStatus::Pending))
}

/// Returns the answers to all tasks from the answers to the first task of each key.
fn spread(
    tasks: &[NewTask],
    firsts: &[NewTask],
    duplicates: &[Option<usize>],
    answers: &[Result<Accepted, Rejection>],
) -> Vec<Result<Accepted, Rejection>> {
    let mut own = answers.iter();
    let answer = |(task, first): (&NewTask, &Option<usize>)| match first {
        None => own.next().cloned().unwrap_or(Err(Rejection::Outage)),
        Some(first) => {
            let same = firsts[*first]
                .key
                .as_ref()
                .is_some_and(|key| same_request(task, &key.fingerprint));
            match &answers[*first] {
                Ok(stored) if same => Ok(Accepted {
                    deduplicated: true,
                    ..stored.clone()
                }),
                Ok(_) => Err(Rejection::KeyReused),
                Err(rejection) => Err(*rejection),
            }
        }
    };
    tasks.iter().zip(duplicates).map(answer).collect()
}

fn all_accepted(answers: Vec<Result<Accepted, Rejection>>) -> Result<Vec<Accepted>, Vec<ValidationError>> {
    let mut accepted = Vec::with_capacity(answers.len());
    let mut errors = Vec::new();
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(task) => accepted.push(task),
            Err(_) if errors.len() < ERRORS_MAX => errors.push(ValidationError::new(
                ValidationErrorKind::KeyReused,
                format!("/tasks/{index}/idempotency_key"),
                "was used before for a different request",
            )),
            Err(_) => {}
        }
    }
    if errors.is_empty() {
        Ok(accepted)
    } else {
        Err(errors)
    }
}
