//! The flusher of submits: inserts gathered tasks with one statement, pushes their hints, answers the
//! callers.

use std::sync::Arc;
use std::time::Instant;

use tasker_core::task::TaskStatus;
use tasker_platform::batcher::{Batcher, ByteLimit, Limits};
use tasker_store::idempotency_keys::{Holder, holders};
use tasker_store::insert::NewTask;
use tasker_store::{ConnectionCache, retry_rolled_back};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::announce::announce;
use super::answer::{Accepted, Answer, Rejection};
use super::dedupe::{dedupe, same_request};
use super::entry::{Entry, Waiter};
use super::push::Pusher;
use super::write::{FlushConnection, Written, write};
use crate::postgres::PostgresHealth;

/// The limits of one flush; the bytes are those of parameters and metadata.
pub(super) const FLUSH: Limits = Limits {
    items: 1_000,
    bytes: ByteLimit::Past(4 * 1024 * 1024),
};
/// Maximum number of flushes for one task, whose key may be released between the insert and the lookup of its
/// holder.
const FLUSHES_MAX: u8 = 5;

/// One of the loops that write waiting tasks.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) kept: Arc<ConnectionCache>,
    pub(super) postgres: Arc<PostgresHealth>,
    pub(super) pusher: Arc<Pusher>,
    pub(super) key_ttl_seconds: f64,
    pub(super) entries: Arc<Batcher<Entry>>,
}

impl Flusher {
    /// Runs until `stop` is cancelled and the channel is empty.
    pub(super) async fn run(self, stop: CancellationToken) {
        let flush = |batch| self.flush(batch);
        self.entries.write_all(&stop, flush).await;
    }

    /// Writes a batch and answers its waiters, except those that have to be part of another flush.
    async fn flush(&self, mut batch: Vec<Entry>) -> Vec<Entry> {
        let began = Instant::now();
        let mut connection = FlushConnection::new(&self.kept, &self.postgres);
        if connection.open().await.is_err() {
            for entry in batch {
                entry.waiter.answer(Err(Rejection::Outage));
            }
            return Vec::new();
        }
        // after the wait for a connection: tasks whose callers have given up by now are not sent
        batch.retain(|entry| entry.waiter.ticket.take());
        if batch.is_empty() {
            return batch;
        }
        let Sorted {
            tasks,
            waiters,
            duplicates,
        } = sort(batch);
        let written = write(&mut connection, &tasks, self.key_ttl_seconds).await;
        // the connection is free for the other flusher while this one pushes
        drop(connection);
        announce(&self.pusher, stored(&tasks, &written)).await;
        metrics::histogram!("tasker_submit_flush_seconds").record(began.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "a flush has a thousand tasks at most")]
        metrics::histogram!("tasker_submit_flush_tasks").record(tasks.len() as f64);

        let mut conflicts = Vec::new();
        let mut again = Vec::new();
        for Duplicate { entry, first } in duplicates {
            match written[first] {
                Written::Stored(status) => {
                    let answer = same_as(&entry.task, &tasks[first], status);
                    entry.waiter.answer(answer);
                }
                Written::KeyTaken => conflicts.push(entry),
                // the values of the first are at fault; the duplicate may have others
                Written::Rejected(Rejection::Unstorable) => again.push(entry),
                Written::Rejected(rejection) => entry.waiter.answer(Err(rejection)),
            }
        }
        for ((task, waiter), written) in tasks.into_iter().zip(waiters).zip(written) {
            match written {
                Written::Stored(status) => waiter.answer(Ok(Accepted::new(&task, status))),
                Written::Rejected(rejection) => waiter.answer(Err(rejection)),
                Written::KeyTaken => conflicts.push(Entry { task, waiter }),
            }
        }
        again.extend(self.look_up(conflicts).await);
        bounded(again)
    }

    /// Answers tasks whose keys belong to another task; returns those whose keys have been released
    /// meanwhile.
    async fn look_up(&self, conflicts: Vec<Entry>) -> Vec<Entry> {
        if conflicts.is_empty() {
            return conflicts;
        }
        let keys = keys_of(conflicts.iter().map(|entry| &entry.task));
        let lookup = async || {
            let mut connection = self.kept.take().await?;
            let found = holders(&mut *connection, &keys).await?;
            self.kept.release(connection);
            Ok(found)
        };
        let found = match retry_rolled_back(|| self.postgres.call(lookup())).await {
            Ok(found) => found,
            Err(error) => {
                warn!(
                    cause = %error,
                    "could not look up the holders of idempotency keys"
                );
                // the insert skipped these tasks, so the outcome is known
                for entry in conflicts {
                    entry.waiter.answer(Err(Rejection::Outage));
                }
                return Vec::new();
            }
        };
        let mut again = Vec::new();
        for entry in conflicts {
            match holder_of(&entry.task, &found) {
                Some(holder) => {
                    let answer = answer_from(&entry.task, holder);
                    entry.waiter.answer(answer);
                }
                None => again.push(entry),
            }
        }
        again
    }
}

/// A batch, split into the tasks of the statement and the duplicates.
struct Sorted {
    tasks: Vec<NewTask>,
    /// The callers of `tasks`, in the same order.
    waiters: Vec<Waiter>,
    duplicates: Vec<Duplicate>,
}

/// A task that repeats a key.
struct Duplicate {
    entry: Entry,
    /// The index in the tasks of the flush of the first task with that key.
    first: usize,
}

fn sort(batch: Vec<Entry>) -> Sorted {
    let duplicates = dedupe(batch.iter().map(|entry| &entry.task));
    let mut sorted = Sorted {
        tasks: Vec::with_capacity(batch.len()),
        waiters: Vec::with_capacity(batch.len()),
        duplicates: Vec::new(),
    };
    for (entry, duplicate) in batch.into_iter().zip(duplicates) {
        if let Some(first) = duplicate {
            sorted.duplicates.push(Duplicate { entry, first });
        } else {
            sorted.tasks.push(entry.task);
            sorted.waiters.push(entry.waiter);
        }
    }
    sorted
}

/// Returns the stored ones of `tasks`, with their states.
fn stored<'a>(tasks: &'a [NewTask], written: &[Written]) -> Vec<(&'a NewTask, TaskStatus)> {
    let status = |written: &Written| match written {
        Written::Stored(status) => Some(*status),
        Written::KeyTaken | Written::Rejected(_) => None,
    };
    let tasks = tasks.iter().zip(written);
    tasks
        .filter_map(|(task, written)| Some((task, status(written)?)))
        .collect()
}

/// Returns the answer to a task that repeats the key of `first`, written in the same flush.
fn same_as(task: &NewTask, first: &NewTask, status: TaskStatus) -> Answer {
    let fingerprint = first.key.as_ref().map(|key| key.fingerprint).unwrap_or_default();
    if !same_request(task, &fingerprint) {
        return Err(Rejection::KeyReused);
    }
    metrics::counter!("tasker_submit_deduplicated_total").increment(1);
    Ok(Accepted {
        deduplicated: true,
        ..Accepted::new(first, status)
    })
}

/// Returns the distinct keys of `tasks`, as (task name, key).
pub(super) fn keys_of<'a>(tasks: impl Iterator<Item = &'a NewTask>) -> Vec<(&'a str, &'a str)> {
    let mut keys: Vec<(&str, &str)> = tasks
        .filter_map(|task| Some((task.task_name.as_str(), task.key.as_ref()?.key.as_str())))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Returns the holder of the key of `task`.
pub(super) fn holder_of<'a>(task: &NewTask, found: &'a [Holder]) -> Option<&'a Holder> {
    let key = task.key.as_ref()?;
    found
        .iter()
        .find(|holder| holder.task_name == task.task_name && holder.idempotency_key == key.key)
}

/// Returns the answer to a task whose key belongs to `holder`.
pub(super) fn answer_from(task: &NewTask, holder: &Holder) -> Answer {
    if !same_request(task, &holder.fingerprint) {
        return Err(Rejection::KeyReused);
    }
    metrics::counter!("tasker_submit_deduplicated_total").increment(1);
    Ok(Accepted {
        id: holder.task_id,
        status: holder.status,
        queue: holder.queue.clone(),
        deduplicated: true,
    })
}

/// Returns the tasks that may go into another flush; answers the others, which have reached the maximum.
fn bounded(again: Vec<Entry>) -> Vec<Entry> {
    let mut next = Vec::with_capacity(again.len());
    for mut entry in again {
        entry.waiter.flushes += 1;
        if entry.waiter.flushes < FLUSHES_MAX {
            next.push(entry);
        } else {
            entry.waiter.answer(Err(Rejection::Outage));
        }
    }
    next
}
