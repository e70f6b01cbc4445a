//! Submit: the group commit.
//!
//! Handlers validate, then put their task on a bounded channel. A few flushers each take what waits, write it with one
//! statement, push the ids, answer every waiter. There is no timer: a lone request is a batch of one, a crowd is a batch
//! of many. Big batch requests have a lane of their own.
//!
//! Invariants: an accepted answer means that the row is committed; a failed push never fails a submit; what may have
//! happened is never sent again; a client that hangs up cancels nothing, because flushers are tasks of the process.

pub mod batch;
pub mod budget;
pub mod fingerprint;
mod flush;
mod fold;
mod forms;
mod place;
pub mod push;
pub mod request;
pub mod validate;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tasker_shared::lifecycle::Shutdown;
use tasker_shared::store::insert::NewTask;
use tasker_shared::store::{ConnectionCache, PgPool};
use tasker_shared::task::{QueueName, TaskId, TaskStatus};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::postgres::PostgresHealth;
use crate::validation_error::ValidationErrorKind;
use budget::Held;
use flush::Flusher;
use place::Place;
use push::Pusher;

/// Tasks that wait for a flusher; one more is an overload.
const WAITING_MAX: usize = 10_000;
/// Two keep Postgres busy while one of them pushes; more only make the batches smaller.
const FLUSHERS: usize = 2;
/// How long a caller waits for its flush while Postgres gives signs of life; without them it waits less than two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A task that was accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its id, or that of the earlier task with the same key.
    pub id: TaskId,
    /// Its state.
    pub status: TaskStatus,
    /// Its queue.
    pub queue: QueueName,
    /// Whether it is an earlier task with the same key.
    pub deduplicated: bool,
}

impl Accepted {
    /// A task that was written just now.
    fn new(task: &NewTask, status: TaskStatus) -> Self {
        Self {
            id: task.id,
            status,
            queue: task.queue.clone(),
            deduplicated: false,
        }
    }
}

/// Why a task was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its key belongs to another request.
    KeyReused,
    /// Postgres cannot store a value in it.
    Unstorable,
    /// Postgres is away; nothing happened.
    Outage,
    /// It is not known whether it was written.
    Unknown,
}

impl Refusal {
    /// What the client is told, for the task at `at` in the body.
    pub fn into_error(self, at: &str) -> ApiError {
        match self {
            Self::KeyReused => ApiError::invalid(
                ValidationErrorKind::KeyReused,
                format!("{at}/idempotency_key"),
                "was sent before with another request",
            ),
            Self::Unstorable => ApiError::invalid(
                ValidationErrorKind::Unstorable,
                at,
                "holds a value that cannot be stored",
            ),
            Self::Outage => ApiError::Unavailable(None),
            Self::Unknown => ApiError::OutcomeUnknown,
        }
    }
}

/// What a caller is told.
type Answer = Result<Accepted, Refusal>;

/// A task on its way to a flusher.
#[derive(Debug)]
struct Entry {
    task: NewTask,
    waiter: Waiter,
}

/// Who waits for a task to be written.
#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Answer>,
    /// Its place until the task is sent.
    place: Arc<Place>,
    /// Flushes that it has been part of without an answer.
    flushes: u8,
    /// The room that its body takes, given back when it is answered.
    _held: Held,
}

impl Waiter {
    /// Answers; a caller that has gone does not mind.
    fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// The entrance to the flushers.
#[derive(Debug, Clone)]
pub struct Submitter {
    waiting: mpsc::Sender<Entry>,
    postgres: Arc<PostgresHealth>,
}

impl Submitter {
    /// Starts the flushers on the tracker of `shutdown`. They end when `stop` is cancelled and nothing waits any more.
    pub fn start(
        db: &PgPool,
        postgres: &Arc<PostgresHealth>,
        pusher: &Arc<Pusher>,
        key_ttl: Duration,
        shutdown: &Shutdown,
        stop: &CancellationToken,
    ) -> Self {
        let (waiting, entries) = mpsc::channel(WAITING_MAX);
        let entries = Arc::new(Mutex::new(entries));
        let kept = Arc::new(ConnectionCache::new(db.clone()));
        for _ in 0..FLUSHERS {
            let flusher = Flusher {
                kept: Arc::clone(&kept),
                postgres: Arc::clone(postgres),
                pusher: Arc::clone(pusher),
                key_ttl_seconds: key_ttl.as_secs_f64(),
                entries: Arc::clone(&entries),
            };
            shutdown.spawn_named("submit flusher", flusher.run(stop.clone()));
        }
        Self {
            waiting,
            postgres: Arc::clone(postgres),
        }
    }

    /// How many tasks wait for a flush.
    pub fn waiting(&self) -> usize {
        self.waiting.max_capacity() - self.waiting.capacity()
    }

    /// Writes one task together with whatever else waits.
    pub async fn submit(&self, task: NewTask, held: Held) -> Result<Accepted, ApiError> {
        let (answer, answered) = oneshot::channel();
        let place = Arc::new(Place::default());
        let waiter = Waiter {
            answer,
            place: Arc::clone(&place),
            flushes: 0,
            _held: held,
        };
        self.waiting
            .try_send(Entry { task, waiter })
            .map_err(|_| ApiError::Overloaded("Too many tasks wait to be written."))?;
        let answer = tokio::select! {
            biased;
            answer = answered => answer.ok(),
            () = self.postgres.unresponsive() => None,
            () = tokio::time::sleep(ANSWER_TIMEOUT) => None,
        };
        match answer {
            Some(answer) => answer.map_err(|refusal| refusal.into_error("")),
            None if place.withdraw() => Err(ApiError::Unavailable(None)),
            // it was sent, and nobody knows what became of it
            None => Err(ApiError::OutcomeUnknown),
        }
    }
}
