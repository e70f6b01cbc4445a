//! Complete: writes the ends of runs, as [`crate::ends`] gathers them.
//!
//! While Postgres is away, ends are held and tried again: these writes are fenced, so repeating one is harmless. What is held
//! is bounded by the slots, and by bytes.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_shared::store::complete::{Success, complete};
use tasker_shared::store::end_runs::{EndedRun, Verdict, end_runs};
use tasker_shared::store::{self, Fault, fault};
use tasker_shared::task::retry::DeadLetterReason;
use tasker_shared::task::{Run, TaskId, TaskStatus};
use tracing::{error, warn};

use crate::ends::{Ending, Finished};
use crate::runtime::Parts;
use crate::tally::Tally;

/// How long a statement may take. It may have taken place all the same, so it is repeated: these writes are fenced, and a run
/// that is found over already is counted as late.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// The first and the longest wait after a write that failed.
const RETRY_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// Writes a batch, however long that takes.
pub(crate) async fn write(parts: &Parts, batch: Vec<Finished>) {
    let runs: Vec<Run> = batch.iter().map(|finished| finished.summary.run).collect();
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
    histogram!("tasker_completion_batch_tasks").record(batch.len() as f64);
    let began = Instant::now();
    let ended = batch.iter().filter(|finished| finished.is_end());
    parts
        .throughput
        .add(ended.map(|finished| (&finished.queue, finished.summary.elapsed)));
    let mut tally = Tally::default();
    let mut successes = Vec::new();
    let mut others = Vec::new();
    for finished in batch {
        tally.add(finished.summary);
        match finished.ending {
            Ending::Success(success) => successes.push(success),
            Ending::Other(ended) => others.push(ended),
        }
    }
    write_successes(parts, &tally, successes, &mut others).await;
    write_others(parts, &tally, &others).await;
    histogram!("tasker_completion_seconds").record(began.elapsed());
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
            parts.kept.release(connection);
            Ok(ended)
        });
        let written = written.await;
        match written {
            Ok(ended) => {
                note_late(parts, tally, parcel.iter().map(|success| success.run), &ended);
                log_successes(parts, tally, &ended);
                tally.count(ended);
            }
            Err(Unwritten::Stopped) => return,
            Err(Unwritten::Row(_)) if parcel.len() > 1 => {
                let half = parcel.split_off(parcel.len() / 2);
                parcels.extend([parcel, half]);
            }
            Err(Unwritten::Row(error)) => {
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
        parts.kept.release(connection);
        Ok(ended)
    });
    match written.await {
        Ok(ended) => {
            let states: Vec<_> = ended.iter().map(|ended| (ended.id, ended.status)).collect();
            note_late(parts, tally, others.iter().map(|ended| ended.run), &states);
            log_others(parts, tally, others, &states);
            let written: HashSet<TaskId> = states.iter().map(|(id, _)| *id).collect();
            count_failures(others, &written);
            tally.count(states);
            parts.put_back_pending(ended).await;
        }
        Err(Unwritten::Stopped) => {}
        // their texts were cleaned and cut, so no row can be at fault; recovery returns them
        Err(Unwritten::Row(error)) => error!(
            code = code(&error),
            runs = others.len(),
            "ends of runs cannot be stored"
        ),
    }
}

/// Counts the attempts among them that failed. Of those whose write came too late somebody else decided.
fn count_failures(others: &[EndedRun], written: &HashSet<TaskId>) {
    for ended in others {
        if written.contains(&ended.run.task) && !matches!(ended.verdict, Verdict::Released) {
            counter!("tasker_failed_runs_total", "reason" => ended.reason).increment(1);
        }
    }
}

/// Why ends were not written.
enum Unwritten {
    /// A row is at fault, which would be so each time.
    Row(store::Error),
    /// Everything ends at once; recovery returns the tasks, if the write did not take place.
    Stopped,
}

/// Tries until Postgres takes the statement, or says that a row is at fault, or everything ends at once.
async fn until_written<T, F>(parts: &Parts, statement: impl Fn() -> F) -> Result<T, Unwritten>
where
    F: Future<Output = store::Result<T>>,
{
    let hard = parts.shutdown.hard();
    let mut wait = *RETRY_WAIT.start();
    loop {
        let written = hard.run_until_cancelled(Box::pin(store::bounded(WRITE_MAX, statement())));
        let error = match written.await.ok_or(Unwritten::Stopped)? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match fault(&error) {
            Fault::Row => return Err(Unwritten::Row(error)),
            Fault::RolledBack => {}
            Fault::Outage | Fault::Unknown => {
                parts.gate.close();
                warn!(%error, "ends of runs were not written yet");
            }
        }
        hard.run_until_cancelled(tokio::time::sleep(wait)).await;
        wait = (wait * 2).min(*RETRY_WAIT.end());
    }
}

/// Counts and logs the runs among `sent` that were no longer this worker's: their writes changed nothing.
fn note_late(
    parts: &Parts,
    tally: &Tally,
    sent: impl ExactSizeIterator<Item = Run>,
    written: &[(TaskId, TaskStatus)],
) {
    let late = sent.len().saturating_sub(written.len());
    if late == 0 {
        return;
    }
    counter!("tasker_fenced_writes_total").increment(late as u64);
    let written: HashSet<TaskId> = written.iter().map(|(id, _)| *id).collect();
    let late = sent.filter(|run| !written.contains(&run.task));
    for run in late.filter_map(|run| tally.get(run.task)) {
        parts.task_log.discarded(run);
    }
}

fn log_successes(parts: &Parts, tally: &Tally, ended: &[(TaskId, TaskStatus)]) {
    if !parts.task_log.logs_successes() {
        return;
    }
    for (id, status) in ended {
        if let Some(run) = tally.get(*id) {
            parts.task_log.ended(run, *status, None);
        }
    }
}

fn log_others(parts: &Parts, tally: &Tally, others: &[EndedRun], states: &[(TaskId, TaskStatus)]) {
    if !parts.task_log.logs_failures() {
        return;
    }
    let others: HashMap<TaskId, &EndedRun> = others.iter().map(|ended| (ended.run.task, ended)).collect();
    for (id, status) in states {
        if let Some(run) = tally.get(*id) {
            parts.task_log.ended(run, *status, others.get(id).copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn only_failures_that_were_written_are_counted() {
        let ended = |verdict, reason| EndedRun {
            run: Run {
                task: TaskId::generate(),
                number: 1,
            },
            verdict,
            reason,
            error: None,
        };
        let failed = || ended(Verdict::DeadLetter(DeadLetterReason::Failed), "failed");
        let others = [failed(), failed(), ended(Verdict::Released, "released")];
        let written = HashSet::from([others[0].run.task, others[2].run.task]);
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || count_failures(&others, &written));
        let text = recorder.handle().render();
        let counts: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(counts, [r#"tasker_failed_runs_total{reason="failed"} 1"#, ""]);
    }
}
