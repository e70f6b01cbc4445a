//! One write of many tasks, and what its errors mean for each of them.

use std::ops::Range;
use std::time::Duration;

use tasker_shared::store::insert::{Inserted, NewTask, insert};
use tasker_shared::store::{self, Fault, PgPool, fault};
use tasker_shared::task::TaskStatus;
use tracing::warn;

use super::Refusal;
use crate::error::describe;
use crate::postgres::Postgres;

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

/// Writes `tasks`, whose keys differ. Where a row is at fault the batch is halved, until only the bad ones are refused.
pub(super) async fn write(
    db: &PgPool,
    postgres: &Postgres,
    tasks: &[NewTask],
    key_ttl_seconds: f64,
) -> Vec<Written> {
    let mut written = vec![Written::Refused(Refusal::Outage); tasks.len()];
    let whole: Range<usize> = 0..tasks.len();
    let mut pieces = Vec::from([whole]);
    while let Some(piece) = pieces.pop() {
        match write_piece(db, postgres, &tasks[piece.clone()], key_ttl_seconds).await {
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
    db: &PgPool,
    postgres: &Postgres,
    tasks: &[NewTask],
    key_ttl_seconds: f64,
) -> Result<Vec<Written>, Fault> {
    let mut rolled_back = 0;
    loop {
        match send(db, postgres, tasks, key_ttl_seconds).await {
            Err(Fault::RolledBack) if rolled_back < ROLLED_BACK_MAX => rolled_back += 1,
            result => return result,
        }
    }
}

async fn send(
    db: &PgPool,
    postgres: &Postgres,
    tasks: &[NewTask],
    key_ttl_seconds: f64,
) -> Result<Vec<Written>, Fault> {
    if postgres.check().is_err() {
        return Err(Fault::Outage);
    }
    // without a connection nothing was sent, whatever the error is
    let mut connection = db.acquire().await.map_err(|error| {
        warn!(cause = describe(&error), "no connection to Postgres for a submit");
        postgres.failed(&error);
        Fault::Outage
    })?;
    let statement = store::bounded(WRITE_TIMEOUT, insert(&mut *connection, tasks, key_ttl_seconds));
    let answer: store::Result<Inserted> = postgres.call(statement).await;
    let inserted = match answer {
        Ok(inserted) => inserted,
        Err(error) => {
            let meaning = fault(&error);
            if meaning == Fault::Unknown {
                // its answer may still come
                drop(connection.detach());
            }
            warn!(
                cause = describe(&error),
                tasks = tasks.len(),
                "Postgres did not carry out a submit"
            );
            return Err(meaning);
        }
    };
    let state = |task| inserted.status(task).map_or(Written::KeyTaken, Written::Stored);
    Ok(tasks.iter().map(state).collect())
}
