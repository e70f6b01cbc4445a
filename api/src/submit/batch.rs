//! The lane of big batches: one statement each, few at once, all or nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::lifecycle::Shutdown;
use tasker_shared::store::idempotency_keys::holders;
use tasker_shared::store::insert::{Inserted, NewTask, insert};
use tasker_shared::store::{self, Fault, PgConnection, PgPool, begin, fault};
use tasker_shared::task::{Hint, TaskStatus};
use tokio::sync::Semaphore;
use tracing::warn;

use super::budget::Held;
use super::flush::{held_by, holder_of, keys_of};
use super::fold::{fold, same_request};
use super::place::Place;
use super::push::Pusher;
use super::{Accepted, Refusal};
use crate::error::{ApiError, describe};
use crate::postgres::PostgresHealth;
use crate::validation_error::{ValidationError, ValidationErrorKind};

/// Two keep Postgres busy; more would only take room from single submits.
const AT_ONCE: usize = 2;
/// How long a batch waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits for its batch while Postgres gives signs of life; without them it waits less than two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any sound batch; its caller has stopped waiting by then.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a batch that Postgres rolled back, or whose keys changed hands, begins anew.
const TRIES_MAX: u32 = 5;
/// Most faults that an answer lists.
const FAULTS_MAX: usize = 100;

/// Writes batches.
#[derive(Debug, Clone)]
pub struct BatchLane {
    db: PgPool,
    postgres: Arc<PostgresHealth>,
    pusher: Arc<Pusher>,
    key_ttl_seconds: f64,
    turns: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// Why a batch was not written.
enum Failure {
    /// It cannot be.
    Refused(ApiError),
    /// A statement failed.
    Store(store::Error),
    /// The commit failed: it may have happened.
    Commit(store::Error),
    /// A key was let go between two looks.
    KeyMoved,
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl BatchLane {
    /// A lane whose writes are owned by the tracker of `shutdown`.
    pub fn new(
        db: PgPool,
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

    /// Writes all of `tasks` or none; answers in their order.
    pub async fn submit(&self, tasks: Vec<NewTask>, held: Held) -> Result<Vec<Accepted>, ApiError> {
        let lane = self.clone();
        let place = Arc::new(Place::default());
        let taken = Arc::clone(&place);
        // a task of the process: a caller that hangs up must not leave a transaction half begun
        let writing = self.shutdown.tracker().spawn(async move {
            let _held = held;
            let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&lane.turns).acquire_owned()).await;
            let Ok(Ok(_turn)) = turn else {
                return Err(ApiError::Overloaded("Other batches are being written."));
            };
            if !taken.take() {
                return Err(ApiError::Unavailable(None));
            }
            lane.write(&tasks).await
        });
        let answer = tokio::select! {
            biased;
            answer = writing => answer.ok(),
            () = self.postgres.unresponsive() => None,
            () = tokio::time::sleep(ANSWER_TIMEOUT) => None,
        };
        match answer {
            Some(answer) => answer,
            None if place.withdraw() => Err(ApiError::Unavailable(None)),
            None => Err(ApiError::OutcomeUnknown),
        }
    }

    async fn write(&self, tasks: &[NewTask]) -> Result<Vec<Accepted>, ApiError> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match self.try_write(tasks).await {
                Ok(accepted) => {
                    self.announce(tasks, &accepted).await;
                    metrics::histogram!("tasker_submit_batch_seconds").record(began.elapsed());
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "a batch has ten thousand tasks at most"
                    )]
                    metrics::histogram!("tasker_submit_batch_tasks").record(tasks.len() as f64);
                    return Ok(accepted);
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Refused(error) => return Err(error),
                Failure::Store(error) if fault(&error) == Fault::RolledBack && tries < TRIES_MAX => {}
                Failure::KeyMoved if tries < TRIES_MAX => {}
                Failure::KeyMoved => return Err(ApiError::Unavailable(None)),
                Failure::Store(error) => return Err(told(&error)),
                Failure::Commit(error) => {
                    warn!(cause = describe(&error), "the outcome of a batch is unknown");
                    return Err(ApiError::OutcomeUnknown);
                }
            }
        }
    }

    async fn try_write(&self, tasks: &[NewTask]) -> Result<Vec<Accepted>, Failure> {
        let mut connection = self.db.acquire().await.map_err(|error| {
            self.postgres.failed(&error);
            nothing_sent()
        })?;
        let writing = async {
            if tasks.iter().any(|task| task.key.is_some()) {
                return self.write_with_keys(&mut connection, tasks).await;
            }
            let inserted = insert(&mut *connection, tasks, self.key_ttl_seconds).await?;
            Ok(tasks.iter().map(|task| accepted(task, &inserted)).collect())
        };
        let written = tokio::select! {
            biased;
            written = writing => written,
            () = self.postgres.unresponsive() => Err(Failure::Commit(no_answer())),
            () = tokio::time::sleep(WRITE_TIMEOUT) => Err(Failure::Commit(no_answer())),
        };
        match &written {
            Err(Failure::Store(error) | Failure::Commit(error)) => {
                self.postgres.failed(error);
                // half a transaction must not go back into the pool
                drop(connection.detach());
            }
            _ => self.postgres.answered(),
        }
        written
    }

    /// Keys can turn out to belong to other requests only after the rows went in, so that all or nothing takes a
    /// transaction.
    async fn write_with_keys(
        &self,
        connection: &mut PgConnection,
        tasks: &[NewTask],
    ) -> Result<Vec<Accepted>, Failure> {
        let places = fold(tasks.iter());
        let leaders: Vec<NewTask> = tasks
            .iter()
            .zip(&places)
            .filter(|(_, place)| place.is_none())
            .map(|(task, _)| task.clone())
            .collect();
        let mut transaction = begin(connection).await?;
        let inserted = insert(&mut *transaction, &leaders, self.key_ttl_seconds).await?;
        let losers = keys_of(leaders.iter().filter(|task| inserted.status(task).is_none()));
        let found = match losers.as_slice() {
            [] => Vec::new(),
            keys => holders(&mut *transaction, keys).await?,
        };
        let mut answers: Vec<Result<Accepted, Refusal>> = Vec::with_capacity(tasks.len());
        for task in &leaders {
            answers.push(match (inserted.status(task), holder_of(task, &found)) {
                (Some(status), _) => Ok(Accepted::new(task, status)),
                (None, Some(holder)) => held_by(task, holder),
                // let go by the look itself: keep that, and begin anew
                (None, None) => {
                    transaction.rollback().await?;
                    holders(&self.db, &losers).await?;
                    return Err(Failure::KeyMoved);
                }
            });
        }
        let answers = spread(tasks, &leaders, &places, &answers);
        match all_accepted(answers) {
            Ok(accepted) => {
                transaction.commit().await.map_err(Failure::Commit)?;
                Ok(accepted)
            }
            Err(faults) => {
                transaction.rollback().await?;
                Err(Failure::Refused(ApiError::Invalid(faults)))
            }
        }
    }

    async fn announce(&self, tasks: &[NewTask], accepted: &[Accepted]) {
        let mut hints = Vec::with_capacity(tasks.len());
        let mut stored: HashMap<&str, u64> = HashMap::new();
        for (task, accepted) in tasks.iter().zip(accepted) {
            if accepted.deduplicated {
                continue;
            }
            *stored.entry(&task.task_name).or_default() += 1;
            if accepted.status == TaskStatus::Pending {
                let hint = Hint::new(accepted.id, accepted.queue.clone(), &*task.task_name);
                hints.push(hint.with_priority(task.priority));
            }
        }
        for (name, count) in stored {
            metrics::counter!("tasks_enqueued_total", "type" => name.to_owned()).increment(count);
        }
        self.pusher.push(hints).await;
    }
}

/// The error of a statement that was given up: its outcome is unknown.
fn no_answer() -> store::Error {
    store::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// The error of a connection that could not be had: nothing was sent, whatever broke.
fn nothing_sent() -> Failure {
    Failure::Refused(ApiError::Unavailable(None))
}

fn told(error: &store::Error) -> ApiError {
    warn!(cause = describe(error), "Postgres refused a batch");
    match fault(error) {
        Fault::Row => ApiError::invalid(
            ValidationErrorKind::Unstorable,
            "/tasks",
            "has a task with a value that cannot be stored",
        ),
        Fault::Outage | Fault::RolledBack => ApiError::Unavailable(None),
        Fault::Unknown => ApiError::OutcomeUnknown,
    }
}

fn accepted(task: &NewTask, inserted: &Inserted) -> Accepted {
    Accepted::new(task, inserted.status(task).unwrap_or(TaskStatus::Pending))
}

/// The answers to all tasks from those to the leaders.
fn spread(
    tasks: &[NewTask],
    leaders: &[NewTask],
    places: &[Option<usize>],
    answers: &[Result<Accepted, Refusal>],
) -> Vec<Result<Accepted, Refusal>> {
    let mut own = answers.iter();
    let answer = |(task, place): (&NewTask, &Option<usize>)| match place {
        None => own.next().cloned().unwrap_or(Err(Refusal::Outage)),
        Some(leader) => {
            let same = leaders[*leader]
                .key
                .as_ref()
                .is_some_and(|key| same_request(task, &key.fingerprint));
            match &answers[*leader] {
                Ok(first) if same => Ok(Accepted {
                    deduplicated: true,
                    ..first.clone()
                }),
                Ok(_) => Err(Refusal::KeyReused),
                Err(refusal) => Err(*refusal),
            }
        }
    };
    tasks.iter().zip(places).map(answer).collect()
}

fn all_accepted(answers: Vec<Result<Accepted, Refusal>>) -> Result<Vec<Accepted>, Vec<ValidationError>> {
    let mut accepted = Vec::with_capacity(answers.len());
    let mut faults = Vec::new();
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(task) => accepted.push(task),
            Err(_) if faults.len() < FAULTS_MAX => faults.push(ValidationError::new(
                ValidationErrorKind::KeyReused,
                format!("/tasks/{index}/idempotency_key"),
                "was sent before with another request",
            )),
            Err(_) => {}
        }
    }
    if faults.is_empty() {
        Ok(accepted)
    } else {
        Err(faults)
    }
}
