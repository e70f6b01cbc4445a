//! Inserts the tasks of one flush, and derives the outcome of each task from the errors of Postgres.

use std::ops::Range;
use std::time::Duration;

use tasker_core::task::TaskStatus;
use tasker_store::insert::{NewTask, insert};
use tasker_store::{
    self as store, CachedConnection, ConnectionCache, ErrorKind, Observer, retry_rolled_back,
};
use tokio::sync::Mutex;
use tracing::warn;

use super::answer::Rejection;
use crate::postgres::PostgresHealth;

/// Timeout of the insert. Callers stop waiting before it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// The outcome of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is committed, in this state.
    Stored(TaskStatus),
    /// Its key is taken.
    KeyTaken,
    /// It was not accepted.
    Rejected(Rejection),
}

/// The connection of one flush.
pub(super) struct FlushConnection<'a> {
    kept: &'a ConnectionCache,
    postgres: &'a PostgresHealth,
    connection: Option<CachedConnection>,
}

impl<'a> FlushConnection<'a> {
    pub(super) fn new(kept: &'a ConnectionCache, postgres: &'a PostgresHealth) -> Self {
        Self {
            kept,
            postgres,
            connection: None,
        }
    }

    /// Gets a connection if there is none. An error means that no statement was sent.
    pub(super) async fn open(&mut self) -> Result<(), ErrorKind> {
        if self.connection.is_some() {
            return Ok(());
        }
        if self.postgres.check().is_err() {
            return Err(ErrorKind::Outage);
        }
        let connection = self.kept.take().await.map_err(|error| {
            warn!(
                cause = %error,
                "could not get a connection to Postgres for a submit"
            );
            self.postgres.failed(&error);
            ErrorKind::Outage
        })?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn send(&mut self, tasks: &[NewTask], key_ttl_seconds: f64) -> Result<Vec<Written>, ErrorKind> {
        self.open().await?;
        let connection = self.connection.take().ok_or(ErrorKind::Outage)?;
        // never contended: the lock only lends the connection to one attempt after the other
        let connection = Mutex::new(connection);
        let (lent, postgres) = (&connection, self.postgres);
        let inserted = retry_rolled_back(|| async move {
            let mut connection = lent.lock().await;
            let statement = insert(&mut **connection, tasks, key_ttl_seconds);
            postgres.call(store::bounded(WRITE_TIMEOUT, statement)).await
        });
        let inserted = inserted.await;
        let connection = connection.into_inner();
        match inserted {
            Ok(inserted) => {
                self.connection = Some(connection);
                let state = |task| inserted.status(task).map_or(Written::KeyTaken, Written::Stored);
                Ok(tasks.iter().map(state).collect())
            }
            Err(error) => {
                let kind = error.kind();
                match kind {
                    ErrorKind::Row | ErrorKind::RolledBack => self.connection = Some(connection),
                    // a late answer would be read as that of the next statement; or the server is not the
                    // primary any more
                    ErrorKind::Unknown | ErrorKind::TimedOut | ErrorKind::Outage => connection.discard(),
                }
                warn!(
                    cause = %error,
                    tasks = tasks.len(),
                    "submit statement failed"
                );
                Err(kind)
            }
        }
    }
}

impl Drop for FlushConnection<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.kept.release(connection);
        }
    }
}

/// Inserts `tasks`, whose keys differ. If Postgres rejects a row, the batch is split in halves until only the
/// bad rows are left.
pub(super) async fn write(
    connection: &mut FlushConnection<'_>,
    tasks: &[NewTask],
    key_ttl_seconds: f64,
) -> Vec<Written> {
    let mut written = vec![Written::Rejected(Rejection::Outage); tasks.len()];
    let whole: Range<usize> = 0..tasks.len();
    let mut chunks = Vec::from([whole]);
    while let Some(chunk) = chunks.pop() {
        match connection.send(&tasks[chunk.clone()], key_ttl_seconds).await {
            Ok(states) => written[chunk].copy_from_slice(&states),
            Err(ErrorKind::Row) if chunk.len() > 1 => {
                let middle = chunk.start + chunk.len() / 2;
                // a stack, so the second half first: chunks are written in the order of the tasks
                chunks.push(middle..chunk.end);
                chunks.push(chunk.start..middle);
            }
            Err(ErrorKind::Row) => written[chunk].fill(Written::Rejected(Rejection::Unstorable)),
            Err(ErrorKind::Unknown | ErrorKind::TimedOut) => {
                written[chunk].fill(Written::Rejected(Rejection::Unknown));
            }
            // the other chunks would fail as well, and keep the outcome `Outage` that they start with
            Err(ErrorKind::Outage | ErrorKind::RolledBack) => break,
        }
    }
    written
}
