//! One write of many tasks, and what its errors mean for each of them.

use std::ops::Range;
use std::time::Duration;

use tasker_shared::store::insert::{NewTask, insert};
use tasker_shared::store::{self, CachedConnection, ConnectionCache, Fault, fault};
use tasker_shared::task::TaskStatus;
use tracing::warn;

use super::Refusal;
use crate::error::describe;
use crate::postgres::PostgresHealth;

/// Longer than any sound statement; callers have stopped waiting by then.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a statement that Postgres rolled back (a deadlock, a serialisation failure) is sent again.
const ROLLED_BACK_MAX: u32 = 5;

/// What became of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is committed, in this state.
    Stored(TaskStatus),
    /// Its key is taken.
    KeyTaken,
    /// It was not accepted.
    Refused(Refusal),
}

/// The connection of one flush.
pub(super) struct Line<'a> {
    kept: &'a ConnectionCache,
    postgres: &'a PostgresHealth,
    connection: Option<CachedConnection>,
}

impl<'a> Line<'a> {
    pub(super) fn new(kept: &'a ConnectionCache, postgres: &'a PostgresHealth) -> Self {
        Self {
            kept,
            postgres,
            connection: None,
        }
    }

    /// Makes sure of a connection. Without one nothing was sent, whatever the error was.
    pub(super) async fn open(&mut self) -> Result<(), Fault> {
        if self.connection.is_some() {
            return Ok(());
        }
        if self.postgres.check().is_err() {
            return Err(Fault::Outage);
        }
        let connection = self.kept.take().await.map_err(|error| {
            warn!(cause = describe(&error), "no connection to Postgres for a submit");
            self.postgres.failed(&error);
            Fault::Outage
        })?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn send(&mut self, tasks: &[NewTask], key_ttl_seconds: f64) -> Result<Vec<Written>, Fault> {
        self.open().await?;
        let mut connection = self.connection.take().ok_or(Fault::Outage)?;
        let statement = store::bounded(WRITE_TIMEOUT, insert(&mut *connection, tasks, key_ttl_seconds));
        match self.postgres.call(statement).await {
            Ok(inserted) => {
                self.connection = Some(connection);
                let state = |task| inserted.status(task).map_or(Written::KeyTaken, Written::Stored);
                Ok(tasks.iter().map(state).collect())
            }
            Err(error) => {
                let meaning = fault(&error);
                match meaning {
                    Fault::Row | Fault::RolledBack => self.connection = Some(connection),
                    // its answer may still come; or it leads to a server that is no longer the one to write to
                    Fault::Unknown | Fault::Outage => connection.discard(),
                }
                warn!(
                    cause = describe(&error),
                    tasks = tasks.len(),
                    "Postgres did not carry out a submit"
                );
                Err(meaning)
            }
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.kept.release(connection);
        }
    }
}

/// Writes `tasks`, whose keys differ. Where a row is at fault the batch is halved, until only the bad ones are refused.
pub(super) async fn write(line: &mut Line<'_>, tasks: &[NewTask], key_ttl_seconds: f64) -> Vec<Written> {
    let mut written = vec![Written::Refused(Refusal::Outage); tasks.len()];
    let whole: Range<usize> = 0..tasks.len();
    let mut pieces = Vec::from([whole]);
    while let Some(piece) = pieces.pop() {
        match write_piece(line, &tasks[piece.clone()], key_ttl_seconds).await {
            Ok(states) => written[piece].copy_from_slice(&states),
            Err(Fault::Row) if piece.len() > 1 => {
                let middle = piece.start + piece.len() / 2;
                pieces.push(middle..piece.end);
                pieces.push(piece.start..middle);
            }
            Err(Fault::Row) => written[piece].fill(Written::Refused(Refusal::Unstorable)),
            Err(Fault::Unknown) => written[piece].fill(Written::Refused(Refusal::Unknown)),
            // Postgres is away for the other pieces as well
            Err(Fault::Outage | Fault::RolledBack) => break,
        }
    }
    written
}

async fn write_piece(
    line: &mut Line<'_>,
    tasks: &[NewTask],
    key_ttl_seconds: f64,
) -> Result<Vec<Written>, Fault> {
    let mut rolled_back = 0;
    loop {
        match line.send(tasks, key_ttl_seconds).await {
            Err(Fault::RolledBack) if rolled_back < ROLLED_BACK_MAX => rolled_back += 1,
            result => return result,
        }
    }
}
