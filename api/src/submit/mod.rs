//! Submit: validates tasks and writes them to Postgres by group commit.
//!
//! Handlers validate, then put their task on a bounded channel. Two flushers each take all waiting tasks up
//! to a limit, insert them with one statement, push their hints and answer the callers. No timer delays a
//! flush: the batch size follows from the load, and a single request is written at once. Batch requests have
//! their own lane.
//!
//! Invariants:
//! 1. An accepted answer means that the row is committed.
//! 2. A failed push never fails a submit.
//! 3. A statement that may have been executed is never sent again.
//! 4. A client that disconnects cancels no write, because flushers are background tasks of the process.

pub mod batch;
pub mod budget;
mod dedupe;
pub mod fingerprint;
mod flush;
mod forms;
pub mod push;
pub mod request;
mod ticket;
pub mod validate;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_platform::lifecycle::Shutdown;
use tasker_store::insert::NewTask;
use tasker_store::{ConnectionCache, PgPool};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::postgres::PostgresHealth;
use crate::validation_error::ValidationErrorKind;
use budget::Reservation;
use flush::Flusher;
use push::Pusher;
use ticket::Ticket;

/// Maximum number of tasks that wait for a flusher; further submits are rejected with 503.
const WAITING_MAX: usize = 10_000;
/// Number of flushers. While one pushes, the other keeps Postgres busy; more would only make the batches
/// smaller.
const FLUSHERS: usize = 2;
/// Maximum wait of a caller for its flush while Postgres answers health probes; otherwise it waits less than
/// two seconds.
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
    /// True if it is an earlier task with the same key.
    pub deduplicated: bool,
}

impl Accepted {
    /// Creates the answer for a task that was just written.
    fn new(task: &NewTask, status: TaskStatus) -> Self {
        Self {
            id: task.id,
            status,
            queue: task.queue.clone(),
            deduplicated: false,
        }
    }
}

/// The reason why a task was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Its key belongs to another request.
    KeyReused,
    /// Postgres cannot store a value in it.
    Unstorable,
    /// Postgres is unavailable; the task was not written.
    Outage,
    /// It is unknown whether the task was written.
    Unknown,
}

impl Rejection {
    /// Returns the error for the client, for the task at `at` in the body.
    pub fn into_error(self, at: &str) -> ApiError {
        match self {
            Self::KeyReused => ApiError::invalid(
                ValidationErrorKind::KeyReused,
                format!("{at}/idempotency_key"),
                "was used before for a different request",
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

/// The answer to a caller.
type Answer = Result<Accepted, Rejection>;

/// A task on its way to a flusher.
#[derive(Debug)]
struct Entry {
    task: NewTask,
    waiter: Waiter,
}

/// The caller that waits for a task to be written.
#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Answer>,
    /// Its ticket, valid until the task is sent.
    ticket: Arc<Ticket>,
    /// Number of flushes that included it without an answer.
    flushes: u8,
    /// The memory reserved for its body, released when it is answered.
    _reservation: Reservation,
}

impl Waiter {
    /// Sends the answer, and ignores that the caller may have gone.
    fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// The handle through which handlers reach the flushers.
#[derive(Debug, Clone)]
pub struct Submitter {
    waiting: mpsc::Sender<Entry>,
    postgres: Arc<PostgresHealth>,
}

impl Submitter {
    /// Starts the flushers on the tracker of `shutdown`. They end when `stop` is cancelled and the channel is
    /// empty.
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
        // the flushers share one receiver: whichever is free takes all that waits, so the batches grow with
        // the load
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

    /// Returns the number of tasks that wait for a flush.
    pub fn waiting(&self) -> usize {
        self.waiting.max_capacity() - self.waiting.capacity()
    }

    /// Writes one task together with all others that wait.
    pub async fn submit(&self, task: NewTask, reservation: Reservation) -> Result<Accepted, ApiError> {
        let (answer, answered) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        let waiter = Waiter {
            answer,
            ticket: Arc::clone(&ticket),
            flushes: 0,
            _reservation: reservation,
        };
        // does not wait for capacity: callers would only pile up in memory in front of a Postgres that is too
        // slow
        self.waiting
            .try_send(Entry { task, waiter })
            .map_err(|_| ApiError::Overloaded("Too many submitted tasks are waiting to be written."))?;
        let answer = tokio::select! {
            biased;
            answer = answered => answer.ok(),
            () = self.postgres.unresponsive() => None,
            () = tokio::time::sleep(ANSWER_TIMEOUT) => None,
        };
        match answer {
            Some(answer) => answer.map_err(|rejection| rejection.into_error("")),
            // a ticket that no flusher has taken: the task will not be sent, so the outcome is known
            None if ticket.withdraw() => Err(ApiError::Unavailable(None)),
            // the task may have been sent
            None => Err(ApiError::OutcomeUnknown),
        }
    }
}
