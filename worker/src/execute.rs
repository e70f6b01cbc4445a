//! One run: the handler, its limits, and what its end means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::store::claim::Claimed;
use tasker_shared::store::complete::Success;
use tasker_shared::store::end_runs::{EndedRun, Verdict};
use tasker_shared::task::limits::cut_error;
use tasker_shared::task::retry::{Backoff, Failure, decide};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::context::{Context, RunFacts};
use crate::ends::{Ending, Finished};
use crate::handler::{Handler, TaskError};
use crate::held::Added;
use crate::panics::{self, Caught, Panics};
use crate::runtime::Parts;
use crate::slots::Slot;
use crate::spans::RunSpans;

/// How long a cancelled handler may go on before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How a handler came to its end.
enum Outcome {
    Returned(Result<String, TaskError>),
    Panicked(Caught),
    TimedOut,
    /// It was cancelled and did not heed it.
    Dropped,
    /// The worker stops and cannot wait.
    GivenBack,
}

impl Outcome {
    /// The place of the handler's panic.
    fn panicked_at(&self) -> Option<String> {
        match self {
            Self::Panicked(caught) => caught.place.clone(),
            _ => None,
        }
    }

    /// The word for an end without a result.
    fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Returned(Ok(_)) => None,
            Self::Returned(Err(_)) => Some("failed"),
            Self::Panicked(_) => Some("panicked"),
            Self::TimedOut => Some("timeout"),
            Self::Dropped => Some("dropped"),
            Self::GivenBack => Some("released"),
        }
    }
}

/// Starts a run in its slot. The run owns itself: it ends by handing its end to the completer.
pub(crate) async fn spawn(parts: &Arc<Parts>, claimed: Claimed, slot: Slot) {
    let cancelled = match parts.held.add(claimed.run, claimed.suspect) {
        Added::New(cancelled) => cancelled,
        // its handler is at work, and its end will count
        Added::SameRun => return,
        Added::OtherRun => {
            let ending = judge(&claimed, Outcome::GivenBack, None, Backoff::default(), 0.0);
            return parts
                .completer
                .send(Finished::new(claimed, Duration::ZERO, None, ending))
                .await;
        }
    };
    let parts = Arc::clone(parts);
    parts.runs.clone().spawn(async move {
        let mut claimed = claimed;
        let began = Instant::now();
        let outcome = run(&parts, &mut claimed, &slot, cancelled).await;
        let progress = parts.reports.last(claimed.run);
        let backoff = parts
            .registry
            .get(&claimed.task_name)
            .map_or_else(Backoff::default, |task| task.backoff);
        let panicked_at = outcome.panicked_at();
        let ending = judge(&claimed, outcome, progress, backoff, rand::random());
        parts
            .completer
            .send(Finished::new(claimed, began.elapsed(), panicked_at, ending))
            .await;
        // only now: what waits to be written is bounded by the slots
        drop(slot);
    });
}

async fn run(parts: &Parts, claimed: &mut Claimed, slot: &Slot, cancelled: CancellationToken) -> Outcome {
    let Some(task) = parts.registry.get(&claimed.task_name) else {
        // a claim takes registered types only
        return Outcome::GivenBack;
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
        biased;
        outcome = handler => outcome,
        () = tokio::time::sleep(limit) => { cancelled.cancel(); Outcome::TimedOut }
        () = ignored(&cancelled) => Outcome::Dropped,
        () = parts.give_back.cancelled() => { cancelled.cancel(); Outcome::GivenBack }
    };
    if let Some(how) = outcome.failure() {
        spans.failed(how);
    }
    outcome
}

/// The handler as a future that cannot panic.
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
                // the thread keeps its slot until it returns, whatever has become of its run
                let _slot = slot;
                let _entered = span.enter();
                panics::catch_blocking(panics, || handler(context, parameters))
            });
            match thread.await {
                Ok(caught) => caught,
                Err(_) => return Outcome::GivenBack,
            }
        }
    };
    caught.map_or_else(Outcome::Panicked, Outcome::Returned)
}

/// Ends when the run was cancelled and has not heeded it for the grace.
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

/// What the end of a handler means for its task. Pure; `jitter` is a random number of 0 to 1.
fn judge(
    claimed: &Claimed,
    outcome: Outcome,
    progress: Option<String>,
    backoff: Backoff,
    jitter: f64,
) -> Ending {
    let (failure, reason, text) = match outcome {
        Outcome::Returned(Ok(result)) => {
            return Ending::Success(Success {
                run: claimed.run,
                result,
                progress,
            });
        }
        Outcome::GivenBack => {
            return Ending::Other(EndedRun {
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
            "the handler did not heed its cancellation".to_owned(),
        ),
    };
    Ending::Other(EndedRun {
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
