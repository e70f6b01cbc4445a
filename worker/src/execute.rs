//! Execution of one run: calls the handler within its limits and turns the outcome into a completion.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_core::task::limits::cut_error;
use tasker_core::task::retry::{Backoff, Failure, decide};
use tasker_store::claim::Claimed;
use tasker_store::complete::Success;
use tasker_store::end_runs::{EndedRun, Verdict};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::completions::{Completion, Record};
use crate::context::{Context, RunFacts};
use crate::handler::{CANCEL_GRACE, Handler, TaskError};
use crate::in_flight::Added;
use crate::panics::{self, Caught, Panics};
use crate::runtime::Parts;
use crate::slots::Slot;
use crate::spans::RunSpans;

/// The outcome of a handler.
enum Outcome {
    Returned(Result<String, TaskError>),
    Panicked(Caught),
    TimedOut,
    /// It was cancelled and did not return within the grace period.
    Dropped,
    /// The worker is stopping, and the run is requeued.
    Released,
}

impl Outcome {
    /// Returns the place of the handler's panic, as `file:line`.
    fn panicked_at(&self) -> Option<String> {
        match self {
            Self::Panicked(caught) => caught.place.clone(),
            _ => None,
        }
    }

    /// Returns the `error.type` of the span; `None` if there is a result.
    fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Returned(Ok(_)) => None,
            Self::Returned(Err(_)) => Some("failed"),
            Self::Panicked(_) => Some("panicked"),
            Self::TimedOut => Some("timeout"),
            Self::Dropped => Some("dropped"),
            Self::Released => Some("released"),
        }
    }
}

/// Starts a run in its slot, in a task of its own that ends by handing its completion to the completer.
pub(crate) async fn spawn(parts: &Arc<Parts>, claimed: Claimed, slot: Slot) {
    let cancelled = match parts.in_flight.add(claimed.run, claimed.suspect) {
        Added::New(cancelled) => cancelled,
        // its handler is at work, and its completion will count
        Added::SameRun => return,
        // two handlers of one task must not run side by side here: the new run is requeued at once
        Added::OtherRun => {
            let record = record_of(&claimed, Outcome::Released, None, Backoff::default(), 0.0);
            return parts
                .completer
                .send(Completion::new(claimed, Duration::ZERO, None, record))
                .await;
        }
    };
    let parts = Arc::clone(parts);
    parts.runs.clone().spawn(async move {
        let mut claimed = claimed;
        let began = Instant::now();
        let outcome = run(&parts, &mut claimed, &slot, cancelled).await;
        // written together with the completion: a report that the progress writer sends after it would be
        // fenced
        let progress = parts.reports.last(claimed.run);
        let backoff = parts
            .registry
            .get(&claimed.task_name)
            .map_or_else(Backoff::default, |task| task.backoff);
        let panicked_at = outcome.panicked_at();
        let record = record_of(&claimed, outcome, progress, backoff, rand::random());
        parts
            .completer
            .send(Completion::new(claimed, began.elapsed(), panicked_at, record))
            .await;
        // only now: the slots bound the number of completions that wait for `send`
        drop(slot);
    });
}

async fn run(parts: &Parts, claimed: &mut Claimed, slot: &Slot, cancelled: CancellationToken) -> Outcome {
    let Some(task) = parts.registry.get(&claimed.task_name) else {
        // not reached: a claim takes registered types only
        return Outcome::Released;
    };
    let spans = RunSpans::of(claimed);
    let span = spans.lines().clone();
    parts.task_log.started(claimed, &span);
    let context = context(parts, claimed, cancelled.clone(), span.clone());
    let handler = start(
        parts.panics,
        &task.handler,
        context,
        std::mem::take(&mut claimed.parameters),
        slot.clone(),
        span,
    );
    let limit = Duration::from_secs_f64(claimed.timeout_seconds);
    let outcome = tokio::select! {
        // a handler that returned in the same moment as a limit was reached has its result stored
        biased;
        outcome = handler => outcome,
        // the future of the handler is dropped; the token reaches a blocking handler, whose thread cannot be
        () = tokio::time::sleep(limit) => { cancelled.cancel(); Outcome::TimedOut }
        () = ignored(&cancelled) => Outcome::Dropped,
        () = parts.release_runs.cancelled() => { cancelled.cancel(); Outcome::Released }
    };
    if let Some(how) = outcome.failure() {
        spans.failed(how);
    }
    outcome
}

/// Runs the handler and catches its panic.
async fn start(
    panics: Panics,
    handler: &Handler,
    context: Context,
    parameters: String,
    slot: Slot,
    span: Span,
) -> Outcome {
    let caught = match handler {
        Handler::Async(handler) => {
            let called = async { handler(context, parameters).await };
            panics::catch(panics, called.instrument(span)).await
        }
        Handler::Blocking(handler) => {
            let handler = Arc::clone(handler);
            let thread = tokio::task::spawn_blocking(move || {
                // the thread keeps its slot until it returns, also after its run has timed out or was
                // cancelled
                let _slot = slot;
                let _entered = span.enter();
                panics::catch_blocking(panics, || handler(context, parameters))
            });
            match thread.await {
                Ok(caught) => caught,
                // the runtime shut down before the thread began: the handler did not run
                Err(_) => return Outcome::Released,
            }
        }
    };
    caught.map_or_else(Outcome::Panicked, Outcome::Returned)
}

/// Waits until the run is cancelled and its grace period is over.
async fn ignored(cancelled: &CancellationToken) {
    cancelled.cancelled().await;
    tokio::time::sleep(CANCEL_GRACE).await;
}

fn context(parts: &Parts, claimed: &mut Claimed, cancelled: CancellationToken, span: Span) -> Context {
    let facts = RunFacts {
        run: claimed.run,
        attempt: claimed.attempts + 1,
        max_attempts: claimed.max_attempts,
        timeout: Duration::from_secs_f64(claimed.timeout_seconds),
        correlation_id: claimed.correlation_id.clone(),
        traceparent: claimed.traceparent.take(),
        metadata: std::mem::take(&mut claimed.metadata),
    };
    let tracker = parts.shutdown.tracker().clone();
    Context::new(facts, cancelled, parts.reports.clone(), tracker, span)
}

/// Returns the record of an outcome: the result, or the verdict on a failed attempt. Pure; `jitter` is a
/// random number from 0 to 1.
fn record_of(
    claimed: &Claimed,
    outcome: Outcome,
    progress: Option<String>,
    backoff: Backoff,
    jitter: f64,
) -> Record {
    let (failure, reason, text) = match outcome {
        Outcome::Returned(Ok(result)) => {
            return Record::Success(Success {
                run: claimed.run,
                result,
                progress,
            });
        }
        Outcome::Released => {
            return Record::Other(EndedRun {
                run: claimed.run,
                verdict: Verdict::Released,
                reason: "released",
                error: None,
            });
        }
        Outcome::Returned(Err(error)) => {
            let failure = match &error {
                TaskError::Retry(_) => Failure::Retry,
                TaskError::RetryAfter(delay, _) => Failure::RetryAfter(*delay),
                TaskError::Fail(_) => Failure::Fail,
            };
            (failure, "failed", error.text())
        }
        Outcome::Panicked(caught) => (Failure::Retry, "panicked", caught.text()),
        Outcome::TimedOut => {
            let text = format!("the attempt ran longer than {} s", claimed.timeout_seconds);
            (Failure::Timeout, "timeout", text)
        }
        Outcome::Dropped => (
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
        verdict: decide(
            failure,
            claimed.attempts + 1,
            claimed.max_attempts,
            backoff,
            jitter,
        )
        .into(),
        reason,
        error: Some(cut_error(&text)),
    })
}
