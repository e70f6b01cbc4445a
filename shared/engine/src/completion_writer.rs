//! Writes the batches of completions that [`crate::completions`] gathers.
//!
//! While Postgres is unavailable, a write is retried: it is fenced by the run number, so repeating it is
//! safe. The slots and a byte limit bound the completions that wait meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use metrics::{counter, histogram};
use tasker_core::task::retry::DeadLetterReason;
use tasker_core::task::{Run, TaskId, TaskStatus};
use tasker_store::complete::{Success, complete};
use tasker_store::end_runs::{EndedRun, Verdict, end_runs};
use tasker_store::steps::{self, Advance};
use tasker_store::{self as store, PgConnection};
use tracing::{error, warn};

use crate::completion::{Queued, Record};
use crate::completion_metrics::CompletionMetrics;
use crate::hints::Hints;
use crate::in_flight::InFlight;
use crate::queue_counters::QueueCounters;
use crate::statements::{Statements, Unwritten, until_written};
use crate::step_follow::follow;
use crate::task_log::TaskLog;

/// The handles of the writer of completions.
#[derive(Debug)]
pub(crate) struct CompletionWriter {
    pub(crate) statements: Statements,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) hints: Hints,
    pub(crate) queue_counters: Arc<QueueCounters>,
    pub(crate) task_log: Arc<TaskLog>,
}

/// Writes a batch, retrying until Postgres accepts it or the worker is stopped hard.
pub(crate) async fn write(writer: &CompletionWriter, batch: Vec<Queued>) {
    let completions = batch.iter().map(|queued| &queued.completion);
    let runs: Vec<Run> = completions
        .clone()
        .map(|completion| completion.summary.run)
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
    histogram!("tasker_completion_batch_tasks").record(batch.len() as f64);
    let began = Instant::now();
    let ended = completions.filter(|completion| completion.counts_as_attempt());
    writer
        .queue_counters
        .add(ended.map(|completion| (&completion.queue, completion.summary.elapsed)));
    let mut finished_runs = CompletionMetrics::default();
    let mut plain = Records::default();
    let mut steps = Records::default();
    // held until the batch is written
    let mut reservations = Vec::with_capacity(batch.len());
    for Queued {
        completion,
        reservation,
    } in batch
    {
        reservations.push(reservation);
        finished_runs.add(completion.summary);
        let records = if completion.is_step {
            &mut steps
        } else {
            &mut plain
        };
        match completion.record {
            Record::Success(success) => records.successes.push(success),
            Record::Other(ended) => records.others.push(ended),
        }
    }
    for (kind, mut records) in [(Kind::Plain, plain), (Kind::Step, steps)] {
        // successes first: those whose result Postgres rejects become failures and join the others
        write_successes(
            writer,
            &finished_runs,
            kind,
            records.successes,
            &mut records.others,
        )
        .await;
        write_others(writer, &finished_runs, kind, &records.others).await;
    }
    histogram!("tasker_completion_seconds").record(began.elapsed());
    // only now: until its write is confirmed the heartbeat would requeue a run that is not in flight
    writer.in_flight.remove(runs);
}

/// The statements that write a completion: those for plain tasks, or those that advance a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Step,
}

/// The records of one kind in a batch.
#[derive(Default)]
struct Records {
    successes: Vec<Success>,
    others: Vec<EndedRun>,
}

impl Kind {
    /// Sends successes; returns the states in which their tasks ended, and what that made of workflows.
    async fn complete(
        self,
        db: &mut PgConnection,
        worker_id: &str,
        successes: &[Success],
    ) -> store::Result<(Vec<(TaskId, TaskStatus)>, Advance)> {
        if self == Self::Plain {
            return Ok((complete(db, worker_id, successes).await?, Advance::default()));
        }
        let mut advance = steps::complete(db, worker_id, successes).await?;
        let ended = std::mem::take(&mut advance.ended).into_iter();
        Ok((ended.map(|ended| (ended.id, ended.status)).collect(), advance))
    }

    /// Sends runs that ended without a result; returns the tasks with their states.
    async fn end_runs(
        self,
        db: &mut PgConnection,
        worker_id: &str,
        runs: &[EndedRun],
    ) -> store::Result<Advance> {
        if self == Self::Step {
            return steps::end_runs(db, worker_id, runs).await;
        }
        Ok(Advance {
            ended: end_runs(db, worker_id, runs).await?,
            ..Advance::default()
        })
    }
}

async fn write_successes(
    writer: &CompletionWriter,
    finished_runs: &CompletionMetrics,
    kind: Kind,
    successes: Vec<Success>,
    others: &mut Vec<EndedRun>,
) {
    // Postgres does not name the row that it rejects: the batch is halved until that row is alone
    let mut chunks = vec![successes];
    while let Some(mut chunk) = chunks.pop() {
        if chunk.is_empty() {
            continue;
        }
        let written = until_written(&writer.statements, async || {
            let mut connection = writer.statements.connections.take().await?;
            let written = kind
                .complete(&mut connection, &writer.statements.worker_id, &chunk)
                .await?;
            writer.statements.connections.release(connection);
            Ok(written)
        });
        let written = written.await;
        match written {
            Ok((ended, advance)) => {
                count_fenced(
                    writer,
                    finished_runs,
                    chunk.iter().map(|success| success.run),
                    &ended,
                );
                log_successes(writer, finished_runs, &ended);
                finished_runs.count(ended);
                follow(&writer.statements, &writer.hints, advance).await;
            }
            Err(Unwritten::Stopped) => return,
            Err(Unwritten::Row(_)) if chunk.len() > 1 => {
                let half = chunk.split_off(chunk.len() / 2);
                chunks.extend([chunk, half]);
            }
            Err(Unwritten::Row(error)) => {
                warn!(code = code(&error), "result rejected by Postgres");
                others.extend(chunk.iter().map(|success| unstorable(success, &error)));
            }
        }
    }
}

/// Returns the failure of an attempt whose result Postgres rejects. Not retried: the same code would return
/// the same result.
fn unstorable(success: &Success, error: &store::Error) -> EndedRun {
    EndedRun {
        run: success.run,
        verdict: Verdict::DeadLetter(DeadLetterReason::Failed),
        reason: "failed",
        error: Some(format!(
            "result_unstorable: Postgres rejected the result (SQLSTATE {})",
            code(error)
        )),
    }
}

fn code(error: &store::Error) -> String {
    error.code().unwrap_or_default().into_owned()
}

async fn write_others(
    writer: &CompletionWriter,
    finished_runs: &CompletionMetrics,
    kind: Kind,
    others: &[EndedRun],
) {
    if others.is_empty() {
        return;
    }
    let written = until_written(&writer.statements, async || {
        let mut connection = writer.statements.connections.take().await?;
        let written = kind
            .end_runs(&mut connection, &writer.statements.worker_id, others)
            .await?;
        writer.statements.connections.release(connection);
        Ok(written)
    });
    match written.await {
        Ok(mut advance) => {
            let ended = std::mem::take(&mut advance.ended);
            let states: Vec<_> = ended.iter().map(|ended| (ended.id, ended.status)).collect();
            count_fenced(
                writer,
                finished_runs,
                others.iter().map(|ended| ended.run),
                &states,
            );
            log_others(writer, finished_runs, others, &states);
            let written: HashSet<TaskId> = states.iter().map(|(id, _)| *id).collect();
            count_failures(others, &written);
            finished_runs.count(states);
            writer.hints.return_pending(ended).await;
            follow(&writer.statements, &writer.hints, advance).await;
        }
        Err(Unwritten::Stopped) => {}
        // error texts are cleaned and cut before, so this is a bug; the heartbeat requeues the runs
        Err(Unwritten::Row(error)) => error!(
            code = code(&error),
            runs = others.len(),
            "completions rejected by Postgres"
        ),
    }
}

/// Counts the failed attempts whose writes took effect; the outcome of the others was decided by another
/// process.
fn count_failures(others: &[EndedRun], written: &HashSet<TaskId>) {
    for ended in others {
        if written.contains(&ended.run.task) && !matches!(ended.verdict, Verdict::Released) {
            counter!("tasker_failed_runs_total", "reason" => ended.reason).increment(1);
        }
    }
}

/// Counts and logs the runs among `sent` whose writes were fenced: they belonged to another run or worker.
fn count_fenced(
    writer: &CompletionWriter,
    finished_runs: &CompletionMetrics,
    sent: impl ExactSizeIterator<Item = Run>,
    written: &[(TaskId, TaskStatus)],
) {
    let fenced = sent.len().saturating_sub(written.len());
    if fenced == 0 {
        return;
    }
    counter!("tasker_fenced_writes_total").increment(fenced as u64);
    let written: HashSet<TaskId> = written.iter().map(|(id, _)| *id).collect();
    let fenced = sent.filter(|run| !written.contains(&run.task));
    for run in fenced.filter_map(|run| finished_runs.get(run.task)) {
        writer.task_log.discarded(run);
    }
}

fn log_successes(
    writer: &CompletionWriter,
    finished_runs: &CompletionMetrics,
    ended: &[(TaskId, TaskStatus)],
) {
    if !writer.task_log.logs_successes() {
        return;
    }
    for (id, status) in ended {
        if let Some(run) = finished_runs.get(*id) {
            writer.task_log.ended(run, *status, None);
        }
    }
}

fn log_others(
    writer: &CompletionWriter,
    finished_runs: &CompletionMetrics,
    others: &[EndedRun],
    states: &[(TaskId, TaskStatus)],
) {
    if !writer.task_log.logs_failures() {
        return;
    }
    let others: HashMap<TaskId, &EndedRun> = others.iter().map(|ended| (ended.run.task, ended)).collect();
    for (id, status) in states {
        if let Some(run) = finished_runs.get(*id) {
            writer.task_log.ended(run, *status, others.get(id).copied());
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
