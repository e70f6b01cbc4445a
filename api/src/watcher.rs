//! `?wait=`: one look into Postgres for everybody who waits, and none while nobody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tasker_shared::store::{PgPool, records};
use tasker_shared::task::TaskId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{ApiError, describe};
use crate::postgres::PostgresHealth;

/// How long an end may go unnoticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The pause after a look that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Most callers that wait at once.
const WAITERS_MAX: usize = 10_000;

/// Watches tasks for those who wait for their end.
#[derive(Debug)]
pub struct Watcher {
    db: PgPool,
    postgres: Arc<PostgresHealth>,
    waiting: Mutex<HashMap<TaskId, Vec<oneshot::Sender<()>>>>,
    somebody_waits: Notify,
    places: Arc<Semaphore>,
}

/// A place among those who wait; given back when dropped.
#[derive(Debug)]
pub struct Waiting {
    over: oneshot::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    /// Returns when the task has ended, or does not exist.
    pub async fn over(self) {
        let _ = self.over.await;
    }
}

impl Watcher {
    /// A watcher for whom nobody waits yet.
    pub fn new(db: PgPool, postgres: Arc<PostgresHealth>) -> Self {
        Self {
            db,
            postgres,
            waiting: Mutex::default(),
            somebody_waits: Notify::new(),
            places: Arc::new(Semaphore::new(WAITERS_MAX)),
        }
    }

    /// Takes a place among those who wait for `id`. A task that has ended before is noticed as well: looks are at states,
    /// not at events.
    pub fn wait_for(&self, id: TaskId) -> Result<Waiting, ApiError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| ApiError::Overloaded("Too many callers wait for tasks."))?;
        let (sender, over) = oneshot::channel();
        self.lock().entry(id).or_default().push(sender);
        self.somebody_waits.notify_one();
        Ok(Waiting { over, _place: place })
    }

    /// Looks while somebody waits, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let pause = self.look().await;
            let pause = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => self.somebody_waits.notified().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = pause => {}
            }
        }
    }

    /// Wakes those whose tasks have ended; answers how long until the next look, or nothing if nobody waits.
    async fn look(&self) -> Option<Duration> {
        let ids = self.wanted();
        if ids.is_empty() {
            return None;
        }
        match self.postgres.call(records::over(&self.db, &ids)).await {
            Ok(over) => {
                let mut waiting = self.lock();
                for id in over {
                    for sender in waiting.remove(&id).unwrap_or_default() {
                        let _ = sender.send(());
                    }
                }
                Some(LOOK_INTERVAL)
            }
            Err(error) => {
                warn!(cause = describe(&error), "cannot look for tasks that ended");
                Some(FAILURE_PAUSE)
            }
        }
    }

    /// The tasks that somebody still waits for.
    fn wanted(&self) -> Vec<TaskId> {
        let mut waiting = self.lock();
        waiting.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        waiting.keys().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Vec<oneshot::Sender<()>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
