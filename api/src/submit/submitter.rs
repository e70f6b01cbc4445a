//! The handle of the group commit: starts the flushers, and passes tasks to them.

use std::sync::Arc;
use std::time::Duration;

use tasker_platform::batcher::Batcher;
use tasker_platform::lifecycle::Shutdown;
use tasker_store::insert::NewTask;
use tasker_store::{ConnectionCache, PgPool};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::answer::Accepted;
use super::entry::{Entry, Waiter};
use super::flush::{FLUSH, Flusher};
use super::push::Pusher;
use super::ticket::Ticket;
use super::wait::wait_for;
use crate::error::ApiError;
use crate::http::budget::Reservation;
use crate::postgres::PostgresHealth;

/// Maximum number of tasks that wait for a flusher; further submits are rejected with 503.
const WAITING_MAX: usize = 10_000;
/// Number of flushers. While one pushes, the other keeps Postgres busy; more would only make the batches
/// smaller.
const FLUSHERS: usize = 2;
/// Maximum wait of a caller for its flush while Postgres answers health probes; otherwise it waits less than
/// two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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
        let entries = Arc::new(Batcher::new(entries, FLUSH));
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
        let answered = async { answered.await.ok() };
        let answer = wait_for(answered, ANSWER_TIMEOUT, &ticket, &self.postgres).await?;
        answer.map_err(|rejection| rejection.into_error(""))
    }
}
