//! Execution of one run: has it run within its limits and turns the outcome into a completion.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::histogram;
use tasker_core::task::limits::cut_error;
use tasker_core::task::retry::{Failure, decide};
use tasker_store::ConnectionCache;
use tasker_store::claim::Claimed;
use tasker_store::complete::Success;
use tasker_store::end_runs::{EndedRun, Verdict};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::completion::{Completion, Record};
use crate::completions::Completer;
use crate::in_flight::{Added, InFlight};
use crate::progress::Reports;
use crate::queue_counters::QueueCounters;
use crate::runner::{Execution, Outcome, Runner};
use crate::slots::{FreeSlots, Slot};
use crate::spans::RunSpans;
use crate::step_inputs::{NoInputs, StepInputs, defined};
use crate::stops::Stops;
use crate::task_log::TaskLog;

/// The time that a cancelled handler has to return before it is dropped.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Executes claimed runs.
#[derive(Debug)]
pub(crate) struct Executor<R> {
    pub(crate) runner: R,
    pub(crate) stops: Stops,
    /// The tasks of the runs, each until its completion is handed in.
    pub(crate) runs: TaskTracker,
    pub(crate) in_flight: Arc<InFlight>,
    /// Reads the inputs of steps.
    pub(crate) connections: Arc<ConnectionCache>,
    pub(crate) completer: Completer,
    pub(crate) reports: Reports,
    pub(crate) task_log: Arc<TaskLog>,
    pub(crate) queue_counters: Arc<QueueCounters>,
}

/// The end of a run.
enum Ended {
    /// The runner returned.
    Returned(Outcome),
    TimedOut,
    /// It was cancelled and did not return within the grace period.
    Dropped,
}

impl Ended {
    /// Returns the place of the handler's panic, as `file:line`.
    fn panicked_at(&self) -> Option<String> {
        match self {
            Self::Returned(Outcome::Panicked(caught)) => caught.place.clone(),
            _ => None,
        }
    }

    /// Returns the `error.type` of the span; `None` if there is a result.
    fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Returned(Outcome::Returned(_)) => None,
            Self::Returned(Outcome::Failed(..)) => Some("failed"),
            Self::Returned(Outcome::Panicked(_)) => Some("panicked"),
            Self::Returned(Outcome::Released) => Some("released"),
            Self::TimedOut => Some("timeout"),
            Self::Dropped => Some("dropped"),
        }
    }
}

impl<R: Runner> Executor<R> {
    /// Starts claimed runs in free slots, of which there are enough.
    pub(crate) async fn start(self: &Arc<Self>, tasks: Vec<Claimed>, free: &mut FreeSlots) {
        self.queue_counters.waited(tasks.iter());
        if !tasks.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
            histogram!("tasker_claim_batch_tasks").record(tasks.len() as f64);
        }
        let inputs = StepInputs::of(&tasks, &self.connections, |name| {
            self.runner.reads_parameters(name)
        });
        for claimed in tasks {
            let slot = free
                .take_one()
                .expect("no more is claimed than there are free slots");
            let inputs = inputs.as_ref().filter(|inputs| inputs.are_for(&claimed)).cloned();
            self.spawn(claimed, slot, inputs).await;
        }
    }

    /// Starts a run in its slot, in a task of its own that ends by handing its completion to the completer.
    async fn spawn(self: &Arc<Self>, claimed: Claimed, slot: Slot, inputs: Option<Arc<StepInputs>>) {
        let cancelled = match self.in_flight.add(claimed.run, claimed.suspect) {
            Added::New(cancelled) => cancelled,
            // its handler is at work, and its completion will count
            Added::SameRun => return,
            // two handlers of one task must not run side by side here: the new run is requeued at once
            Added::OtherRun => {
                let released = Ended::Returned(Outcome::Released);
                let record = record_of(&claimed, released, None, Duration::default);
                return self
                    .completer
                    .send(Completion::new(claimed, Duration::ZERO, None, record))
                    .await;
            }
        };
        let this = Arc::clone(self);
        self.runs.spawn(async move {
            let mut claimed = claimed;
            let began = Instant::now();
            let ended = this.run(&mut claimed, &slot, cancelled, inputs).await;
            // written together with the completion: a report that the progress writer sends after it would be
            // fenced
            let progress = this.reports.last(claimed.run);
            let panicked_at = ended.panicked_at();
            let record = record_of(&claimed, ended, progress, || this.retry_delay(&claimed));
            this.completer
                .send(Completion::new(claimed, began.elapsed(), panicked_at, record))
                .await;
            // only now: the slots bound the number of completions that wait for `send`
            drop(slot);
        });
    }

    /// Returns the wait until the next attempt: that of the step, else that of the task type.
    fn retry_delay(&self, claimed: &Claimed) -> Duration {
        let ended = claimed.attempts.unsigned_abs() + 1;
        let jitter = rand::random();
        match claimed.step.as_ref().and_then(defined) {
            Some(step) => step.retry.wait(ended, jitter),
            None => self.runner.backoff(&claimed.task_name).delay(ended, jitter),
        }
    }

    async fn run(
        &self,
        claimed: &mut Claimed,
        slot: &Slot,
        cancelled: CancellationToken,
        inputs: Option<Arc<StepInputs>>,
    ) -> Ended {
        let spans = RunSpans::of(claimed);
        self.task_log.started(claimed, spans.lines());
        let limit = Duration::from_secs_f64(claimed.timeout_seconds);
        let execution = Execution {
            cancelled: cancelled.clone(),
            span: spans.lines().clone(),
            slot: slot.clone(),
            reports: self.reports.clone(),
            tracker: self.stops.shutdown.tracker().clone(),
        };
        let outcome = self.run_with_inputs(claimed, execution, inputs);
        let ended = tokio::select! {
            // a handler that returned in the same moment as a limit was reached has its result stored
            biased;
            outcome = outcome => Ended::Returned(outcome),
            // the future of the handler is dropped; the token reaches a blocking handler, whose thread
            // cannot be
            () = tokio::time::sleep(limit) => { cancelled.cancel(); Ended::TimedOut }
            () = ignored(&cancelled) => Ended::Dropped,
            () = self.stops.release_runs.cancelled() => {
                cancelled.cancel();
                Ended::Returned(Outcome::Released)
            }
        };
        if let Some(how) = ended.failure() {
            spans.failed(how);
        }
        ended
    }
}

impl<R: Runner> Executor<R> {
    /// Runs the handler; a step gets its inputs first.
    async fn run_with_inputs(
        &self,
        claimed: &mut Claimed,
        execution: Execution,
        inputs: Option<Arc<StepInputs>>,
    ) -> Outcome {
        if let (Some(inputs), Some(step)) = (inputs, &claimed.step) {
            match inputs.parameters(step).await {
                Ok(Some(parameters)) => claimed.parameters = parameters,
                Ok(None) => {}
                Err(NoInputs::Unavailable) => return Outcome::Released,
                Err(NoInputs::Invalid(text)) => return Outcome::Failed(Failure::Fail, text),
            }
        }
        self.runner.run(claimed, execution).await
    }
}

/// Waits until the run is cancelled and its grace period is over.
async fn ignored(cancelled: &CancellationToken) {
    cancelled.cancelled().await;
    tokio::time::sleep(CANCEL_GRACE).await;
}

/// Returns the record of an outcome: the result, or the verdict on a failed attempt. `delay` returns the wait
/// until the next attempt.
fn record_of(
    claimed: &Claimed,
    ended: Ended,
    progress: Option<String>,
    delay: impl FnOnce() -> Duration,
) -> Record {
    let (failure, reason, text) = match ended {
        Ended::Returned(Outcome::Returned(result)) => {
            return Record::Success(Success {
                run: claimed.run,
                result,
                progress,
            });
        }
        Ended::Returned(Outcome::Released) => {
            return Record::Other(EndedRun {
                run: claimed.run,
                verdict: Verdict::Released,
                reason: "released",
                error: None,
            });
        }
        Ended::Returned(Outcome::Failed(failure, text)) => (failure, "failed", text),
        Ended::Returned(Outcome::Panicked(caught)) => (Failure::Retry, "panicked", caught.text()),
        Ended::TimedOut => {
            let text = format!("the attempt ran longer than {} s", claimed.timeout_seconds);
            (Failure::Timeout, "timeout", text)
        }
        Ended::Dropped => (
            Failure::Retry,
            "dropped",
            format!(
                "the handler did not return within {} s after it was cancelled",
                CANCEL_GRACE.as_secs()
            ),
        ),
    };
    Record::Other(EndedRun {
        run: claimed.run,
        verdict: decide(failure, claimed.attempts + 1, claimed.max_attempts, delay).into(),
        reason,
        error: Some(cut_error(&text)),
    })
}
