//! Complete: writes the ends of runs, many at once. Two flushers take what waits; while one's commit is on its way, the
//! next batch forms. There is no timer.
//!
//! While Postgres is away, ends are held and tried again: these writes are fenced, so repeating one is harmless. What is held
//! is bounded by the slots, and by bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tasker_shared::store::claim::Claimed;
use tasker_shared::store::complete::{Success, complete};
use tasker_shared::store::end_runs::{EndedRun, Verdict, end_runs};
use tasker_shared::store::{self, Fault, fault};
use tasker_shared::task::retry::DeadLetterReason;
use tasker_shared::task::{Run, TaskId};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{error, info, warn};

use crate::runtime::Parts;
use crate::tally::Tally;

/// Flushers at work at once: one writes while the next gathers.
pub(crate) const FLUSHERS: usize = 2;
/// Most ends in one statement.
const BATCH_RUNS: usize = 1_000;
/// Most bytes of results in one statement, unless a single one is larger.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of results that wait to be written; a run with another waits in its slot.
const HELD_BYTES: usize = 64 * 1024 * 1024;
/// How long a statement may take. It may have taken place all the same, so it is repeated: these writes are fenced, and a run
/// that is found over already is counted as late.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// The first and the longest wait after a write that failed.
const RETRY_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// A run that is over, for the worker.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) run: Run,
    pub(crate) attempt: i32,
    pub(crate) task_name: String,
    pub(crate) elapsed: Duration,
    pub(crate) ending: Ending,
}

/// What is to be written of it.
#[derive(Debug)]
pub(crate) enum Ending {
    Success(Success),
    Other(EndedRun),
}

impl Finished {
    pub(crate) fn new(claimed: Claimed, elapsed: Duration, ending: Ending) -> Self {
        Self {
            run: claimed.run,
            attempt: claimed.attempts + 1,
            task_name: claimed.task_name,
            elapsed,
            ending,
        }
    }

    fn bytes(&self) -> usize {
        match &self.ending {
            Ending::Success(success) => success.result.len(),
            Ending::Other(ended) => ended.error.as_ref().map_or(0, String::len),
        }
    }
}

struct Queued {
    finished: Finished,
    _bytes: OwnedSemaphorePermit,
}

/// Where runs hand in their ends.
#[derive(Debug)]
pub(crate) struct Completer {
    ends: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
}

/// The other side of a [`Completer`]; the flushers share it.
pub(crate) struct Ends {
    receiver: Mutex<Waiting>,
}

struct Waiting {
    channel: mpsc::Receiver<Queued>,
    /// The end that did not fit into the batch before.
    next: Option<Queued>,
}

impl Completer {
    pub(crate) fn new(pool_size: usize) -> (Self, Arc<Ends>) {
        let (ends, channel) = mpsc::channel(pool_size.max(BATCH_RUNS));
        let bytes = Arc::new(Semaphore::new(HELD_BYTES));
        (
            Self { ends, bytes },
            Arc::new(Ends {
                receiver: Mutex::new(Waiting { channel, next: None }),
            }),
        )
    }

    /// Hands in an end; waits while too many are held.
    pub(crate) async fn send(&self, finished: Finished) {
        let bytes = u32::try_from(finished.bytes().min(HELD_BYTES)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes)
            .acquire_many_owned(bytes)
            .await
            .expect("the semaphore is never closed");
        // fails only when the flushers were ended by a hard stop: then recovery returns the run
        let _ = self
            .ends
            .send(Queued {
                finished,
                _bytes: permit,
            })
            .await;
    }
}

impl Ends {
    /// Writes what is handed in until nothing can come any more.
    pub(crate) async fn flush(self: Arc<Self>, parts: Arc<Parts>) {
        loop {
            let batch = self.receiver.lock().await.batch(&parts).await;
            if batch.is_empty() {
                return;
            }
            write(&parts, batch.into_iter().map(|queued| queued.finished).collect()).await;
        }
    }
}

impl Waiting {
    /// What waits, or the next that comes; nothing at the end.
    async fn batch(&mut self, parts: &Parts) -> Vec<Queued> {
        let mut batch: Vec<Queued> = self.next.take().into_iter().collect();
        if batch.is_empty() {
            tokio::select! {
                biased;
                first = self.channel.recv() => batch.extend(first),
                // runs hand in nothing after this, and what they handed in was received above
                () = parts.no_more_ends.cancelled() => return batch,
            }
        }
        let mut bytes: usize = batch.iter().map(|queued| queued.finished.bytes()).sum();
        while !batch.is_empty() && batch.len() < BATCH_RUNS {
            let Ok(queued) = self.channel.try_recv() else {
                // what ends at this moment comes along
                tokio::task::yield_now().await;
                if self.channel.is_empty() {
                    break;
                }
                continue;
            };
            bytes += queued.finished.bytes();
            if bytes > BATCH_BYTES {
                self.next = Some(queued);
                break;
            }
            batch.push(queued);
        }
        batch
    }
}

/// Writes a batch, however long that takes.
async fn write(parts: &Parts, batch: Vec<Finished>) {
    let runs: Vec<Run> = batch.iter().map(|finished| finished.run).collect();
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
    histogram!("tasker_completion_batch_tasks").record(batch.len() as f64);
    let tally = Tally::of(&batch);
    let mut successes = Vec::new();
    let mut others = Vec::new();
    for finished in batch {
        match finished.ending {
            Ending::Success(success) => successes.push(success),
            Ending::Other(ended) => others.push(ended),
        }
    }
    write_successes(parts, &tally, successes, &mut others).await;
    write_others(parts, &tally, &others).await;
    parts.held.remove(runs);
}

async fn write_successes(parts: &Parts, tally: &Tally, successes: Vec<Success>, others: &mut Vec<EndedRun>) {
    // halves of a batch that holds something which cannot be stored
    let mut parcels = vec![successes];
    while let Some(mut parcel) = parcels.pop() {
        if parcel.is_empty() {
            continue;
        }
        let written = until_written(parts, async || {
            let mut connection = parts.kept.take().await?;
            let ended = complete(&mut *connection, &parts.worker_id, &parcel).await?;
            parts.kept.give_back(connection);
            Ok(ended)
        });
        let written = written.await;
        match written {
            Ok(ended) => {
                for (id, status) in &ended {
                    tally.count(*id, *status);
                }
                note_late(
                    parcel.iter().map(|success| success.run.task),
                    ended.into_iter().map(|(id, _)| id),
                );
            }
            Err(_) if parcel.len() > 1 => {
                let half = parcel.split_off(parcel.len() / 2);
                parcels.extend([parcel, half]);
            }
            Err(error) => {
                warn!(code = code(&error), "a result cannot be stored");
                others.extend(parcel.iter().map(|success| unstorable(success, &error)));
            }
        }
    }
}

/// A result that Postgres refuses is that attempt's failure: the same code would return the same again.
fn unstorable(success: &Success, error: &store::Error) -> EndedRun {
    EndedRun {
        run: success.run,
        verdict: Verdict::DeadLetter(DeadLetterReason::Failed),
        reason: "failed",
        error: Some(format!(
            "result_unstorable: Postgres refuses the result (SQLSTATE {})",
            code(error)
        )),
    }
}

fn code(error: &store::Error) -> String {
    error
        .as_database_error()
        .and_then(store::DatabaseError::code)
        .unwrap_or_default()
        .into_owned()
}

async fn write_others(parts: &Parts, tally: &Tally, others: &[EndedRun]) {
    if others.is_empty() {
        return;
    }
    let written = until_written(parts, async || {
        let mut connection = parts.kept.take().await?;
        let ended = end_runs(&mut *connection, &parts.worker_id, others).await?;
        parts.kept.give_back(connection);
        Ok(ended)
    });
    match written.await {
        Ok(ended) => {
            for ended in &ended {
                tally.count(ended.id, ended.status);
            }
            note_late(
                others.iter().map(|other| other.run.task),
                ended.iter().map(|ended| ended.id),
            );
            parts.put_back_pending(ended).await;
        }
        // their texts were cleaned and cut, so no row can be at fault; recovery returns them
        Err(error) => error!(
            code = code(&error),
            runs = others.len(),
            "ends of runs cannot be stored"
        ),
    }
}

/// Tries until Postgres takes the statement, or says that a row is at fault, or everything ends at once.
async fn until_written<T, F>(parts: &Parts, statement: impl Fn() -> F) -> store::Result<T>
where
    F: Future<Output = store::Result<T>>,
{
    let mut wait = *RETRY_WAIT.start();
    loop {
        let error = match store::bounded(WRITE_MAX, statement()).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match fault(&error) {
            Fault::Row => return Err(error),
            Fault::RolledBack => {}
            Fault::Outage | Fault::Unknown => {
                parts.gate.close();
                warn!(%error, "ends of runs were not written yet");
            }
        }
        tokio::select! {
            biased;
            () = parts.shutdown.hard().cancelled() => return Err(error),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(*RETRY_WAIT.end());
    }
}

/// Runs that were not this worker's any more: their writes changed nothing.
fn note_late(sent: impl Iterator<Item = TaskId>, written: impl Iterator<Item = TaskId>) {
    let written: HashSet<TaskId> = written.collect();
    let late = sent.filter(|id| !written.contains(id)).count();
    if late > 0 {
        counter!("tasker_fenced_writes_total").increment(late as u64);
        info!(
            runs = late,
            "runs that were no longer this worker's were not written"
        );
    }
}
