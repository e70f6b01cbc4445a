//! Long polling (`?wait=`): one query per interval finds the finished tasks of all waiting requests; no query
//! runs without waiters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tasker_core::task::TaskId;
use tasker_store::records;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::db::Db;
use crate::error::ApiError;
use crate::postgres::PostgresHealth;

/// The time between two queries, and so the maximum delay of an answer.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The pause after a failed query.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The maximum number of requests that wait at once.
const WAITERS_MAX: usize = 10_000;

/// Polls the tasks that requests wait for.
#[derive(Debug)]
pub struct Watcher {
    db: Db,
    postgres: Arc<PostgresHealth>,
    waiting: Mutex<HashMap<TaskId, Vec<oneshot::Sender<()>>>>,
    waiter_added: Notify,
    slots: Arc<Semaphore>,
}

/// A waiting request; its slot is freed on drop.
#[derive(Debug)]
pub struct Waiting {
    over: oneshot::Receiver<()>,
    _slot: OwnedSemaphorePermit,
}

impl Waiting {
    /// Completes when the task is terminal or does not exist.
    pub async fn over(self) {
        let _ = self.over.await;
    }
}

impl Watcher {
    /// Creates a watcher without waiters.
    pub fn new(db: Db, postgres: Arc<PostgresHealth>) -> Self {
        Self {
            db,
            postgres,
            waiting: Mutex::default(),
            waiter_added: Notify::new(),
            slots: Arc::new(Semaphore::new(WAITERS_MAX)),
        }
    }

    /// Registers a request that waits for `id`. A task that finished before this call is found too, since
    /// polls read states and not events.
    ///
    /// # Errors
    ///
    /// [`ApiError::Overloaded`] when `WAITERS_MAX` requests wait already.
    pub fn wait_for(&self, id: TaskId) -> Result<Waiting, ApiError> {
        let slot = Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| ApiError::Overloaded("Too many requests are waiting for tasks."))?;
        let (sender, over) = oneshot::channel();
        self.lock().entry(id).or_default().push(sender);
        self.waiter_added.notify_one();
        Ok(Waiting { over, _slot: slot })
    }

    /// Polls while requests wait, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let pause = self.poll().await;
            let pause = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    // a waiter that registered since the poll has left a permit, so its wake-up is not lost
                    None => self.waiter_added.notified().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = pause => {}
            }
        }
    }

    /// Wakes the requests whose tasks are terminal. Returns the time until the next poll, or `None` without
    /// waiters.
    async fn poll(&self) -> Option<Duration> {
        let ids = self.wanted();
        if ids.is_empty() {
            return None;
        }
        match self
            .postgres
            .while_alive(records::finished_or_missing(&self.db, &ids))
            .await
        {
            Ok(over) => {
                let mut waiting = self.lock();
                for id in over {
                    for sender in waiting.remove(&id).unwrap_or_default() {
                        let _ = sender.send(());
                    }
                }
                Some(POLL_INTERVAL)
            }
            Err(error) => {
                warn!(
                    cause = %error,
                    "cannot poll the tasks that requests wait for"
                );
                Some(FAILURE_PAUSE)
            }
        }
    }

    /// Returns the tasks with waiters, after removing the requests that gave up.
    fn wanted(&self) -> Vec<TaskId> {
        let mut waiting = self.lock();
        // a request that timed out or was cut off has dropped its receiver
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
