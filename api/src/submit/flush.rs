//! A flusher: takes what waits, writes it, announces it, answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tasker_shared::store::ConnectionCache;
use tasker_shared::store::idempotency_keys::{Holder, holders};
use tasker_shared::store::insert::NewTask;
use tasker_shared::task::{Hint, TaskStatus};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::fold::{fold, same_request};
use super::push::Pusher;
use super::write::{Line, Written, write};
use super::{Accepted, Answer, Entry, Refusal, Waiter};
use crate::db::retried;
use crate::error::describe;
use crate::postgres::PostgresHealth;

/// Most tasks of one flush.
const TASKS_MAX: usize = 1_000;
/// Most bytes of parameters and metadata of one flush; the task that crosses the line is still part of it.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many flushes a task may be part of because its key changed hands meanwhile.
const FLUSHES_MAX: u8 = 5;

/// Writes what waits.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) kept: Arc<ConnectionCache>,
    pub(super) postgres: Arc<PostgresHealth>,
    pub(super) pusher: Arc<Pusher>,
    pub(super) key_ttl_seconds: f64,
    pub(super) entries: Arc<Mutex<mpsc::Receiver<Entry>>>,
}

impl Flusher {
    /// Flushes until `stop` is cancelled and nothing waits any more.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut again = Vec::new();
        loop {
            let batch = self.gather(again, &stop).await;
            if batch.is_empty() {
                return;
            }
            again = self.flush(batch).await;
        }
    }

    /// What waits, up to the limits of a flush; waits for the first one. Nothing means that the end has come.
    async fn gather(&self, mut batch: Vec<Entry>, stop: &CancellationToken) -> Vec<Entry> {
        let mut entries = match (batch.is_empty(), self.entries.try_lock()) {
            (_, Ok(entries)) => entries,
            (true, Err(_)) => self.entries.lock().await,
            // the other flusher waits for the next task, and these have waited long enough
            (false, Err(_)) => return batch,
        };
        if batch.is_empty() {
            let first = tokio::select! {
                biased;
                first = entries.recv() => first,
                () = stop.cancelled() => entries.try_recv().ok(),
            };
            batch.extend(first);
        }
        let mut bytes: usize = batch.iter().map(|entry| size(&entry.task)).sum();
        while batch.len() < TASKS_MAX && bytes < BYTES_MAX {
            let Ok(entry) = entries.try_recv() else { break };
            bytes += size(&entry.task);
            batch.push(entry);
        }
        batch
    }

    /// Writes a batch and answers its waiters, except those that have to be part of another flush.
    async fn flush(&self, mut batch: Vec<Entry>) -> Vec<Entry> {
        let began = Instant::now();
        let mut line = Line::new(&self.kept, &self.postgres);
        if line.open().await.is_err() {
            for entry in batch {
                entry.waiter.answer(Err(Refusal::Outage));
            }
            return Vec::new();
        }
        // those whose callers gave up while there was no connection are not sent
        batch.retain(|entry| entry.waiter.place.take());
        if batch.is_empty() {
            return batch;
        }
        let Sorted {
            tasks,
            waiters,
            followers,
        } = sort(batch);
        let written = write(&mut line, &tasks, self.key_ttl_seconds).await;
        drop(line);
        self.announce(&tasks, &written).await;
        metrics::histogram!("tasker_submit_flush_seconds").record(began.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "a flush has a thousand tasks at most")]
        metrics::histogram!("tasker_submit_flush_tasks").record(tasks.len() as f64);

        let mut losers = Vec::new();
        let mut again = Vec::new();
        for Follower { entry, leader } in followers {
            match written[leader] {
                Written::Stored(status) => {
                    let answer = same_as(&entry.task, &tasks[leader], status);
                    entry.waiter.answer(answer);
                }
                Written::KeyTaken => losers.push(entry),
                // the first one's own fault; this one may be sound
                Written::Refused(Refusal::Unstorable) => again.push(entry),
                Written::Refused(refusal) => entry.waiter.answer(Err(refusal)),
            }
        }
        for ((task, waiter), written) in tasks.into_iter().zip(waiters).zip(written) {
            match written {
                Written::Stored(status) => waiter.answer(Ok(Accepted::new(&task, status))),
                Written::Refused(refusal) => waiter.answer(Err(refusal)),
                Written::KeyTaken => losers.push(Entry { task, waiter }),
            }
        }
        again.extend(self.look_up(losers).await);
        bounded(again)
    }

    /// Pushes the hints of what is pending now, and counts what was stored.
    async fn announce(&self, tasks: &[NewTask], written: &[Written]) {
        let mut hints = Vec::with_capacity(tasks.len());
        let mut stored: HashMap<&str, u64> = HashMap::new();
        for (task, written) in tasks.iter().zip(written) {
            let Written::Stored(status) = written else {
                continue;
            };
            *stored.entry(&task.task_name).or_default() += 1;
            if *status == TaskStatus::Pending {
                let hint = Hint::new(task.id, task.queue.clone(), &*task.task_name);
                hints.push(hint.with_priority(task.priority));
            }
        }
        for (name, count) in stored {
            metrics::counter!("tasks_enqueued_total", "type" => name.to_owned()).increment(count);
        }
        self.pusher.push(hints).await;
    }

    /// Answers those whose keys are taken; returns those whose keys are held by nobody any more.
    async fn look_up(&self, losers: Vec<Entry>) -> Vec<Entry> {
        if losers.is_empty() {
            return losers;
        }
        let keys = keys_of(losers.iter().map(|entry| &entry.task));
        let look = async || {
            let mut connection = self.kept.take().await?;
            let found = holders(&mut *connection, &keys).await?;
            self.kept.release(connection);
            Ok(found)
        };
        let found = match retried(|| self.postgres.call(look())).await {
            Ok(found) => found,
            Err(error) => {
                warn!(
                    cause = describe(&error),
                    "cannot look up who holds the idempotency keys"
                );
                // nothing was written for these, so that much is known
                for entry in losers {
                    entry.waiter.answer(Err(Refusal::Outage));
                }
                return Vec::new();
            }
        };
        let mut again = Vec::new();
        for entry in losers {
            match holder_of(&entry.task, &found) {
                Some(holder) => {
                    let answer = held_by(&entry.task, holder);
                    entry.waiter.answer(answer);
                }
                None => again.push(entry),
            }
        }
        again
    }
}

/// A batch, taken apart.
struct Sorted {
    tasks: Vec<NewTask>,
    /// Who waits for each of `tasks`.
    waiters: Vec<Waiter>,
    followers: Vec<Follower>,
}

/// One that repeats a key.
struct Follower {
    entry: Entry,
    /// Where the first with that key is in the tasks of the flush.
    leader: usize,
}

fn sort(batch: Vec<Entry>) -> Sorted {
    let places = fold(batch.iter().map(|entry| &entry.task));
    let mut sorted = Sorted {
        tasks: Vec::with_capacity(batch.len()),
        waiters: Vec::with_capacity(batch.len()),
        followers: Vec::new(),
    };
    for (entry, place) in batch.into_iter().zip(places) {
        if let Some(leader) = place {
            sorted.followers.push(Follower { entry, leader });
        } else {
            sorted.tasks.push(entry.task);
            sorted.waiters.push(entry.waiter);
        }
    }
    sorted
}

/// About how much room a task takes in a statement.
fn size(task: &NewTask) -> usize {
    task.parameters.len() + task.metadata.len()
}

/// The answer to a task that repeats the key of `first`, written in the same flush.
fn same_as(task: &NewTask, first: &NewTask, status: TaskStatus) -> Answer {
    let fingerprint = first.key.as_ref().map(|key| key.fingerprint).unwrap_or_default();
    if !same_request(task, &fingerprint) {
        return Err(Refusal::KeyReused);
    }
    metrics::counter!("tasker_submit_deduplicated_total").increment(1);
    Ok(Accepted {
        deduplicated: true,
        ..Accepted::new(first, status)
    })
}

/// The keys to ask for, each once.
pub(super) fn keys_of<'a>(tasks: impl Iterator<Item = &'a NewTask>) -> Vec<(&'a str, &'a str)> {
    let mut keys: Vec<(&str, &str)> = tasks
        .filter_map(|task| Some((task.task_name.as_str(), task.key.as_ref()?.key.as_str())))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Who holds the key of `task`.
pub(super) fn holder_of<'a>(task: &NewTask, found: &'a [Holder]) -> Option<&'a Holder> {
    let key = task.key.as_ref()?;
    found
        .iter()
        .find(|holder| holder.task_name == task.task_name && holder.idempotency_key == key.key)
}

/// The answer to a task whose key `holder` has.
pub(super) fn held_by(task: &NewTask, holder: &Holder) -> Answer {
    if !same_request(task, &holder.fingerprint) {
        return Err(Refusal::KeyReused);
    }
    metrics::counter!("tasker_submit_deduplicated_total").increment(1);
    Ok(Accepted {
        id: holder.task_id,
        status: holder.status,
        queue: holder.queue.clone(),
        deduplicated: true,
    })
}

/// Those that may be part of another flush; the others have been part of enough.
fn bounded(again: Vec<Entry>) -> Vec<Entry> {
    let mut next = Vec::with_capacity(again.len());
    for mut entry in again {
        entry.waiter.flushes += 1;
        if entry.waiter.flushes < FLUSHES_MAX {
            next.push(entry);
        } else {
            entry.waiter.answer(Err(Refusal::Outage));
        }
    }
    next
}
