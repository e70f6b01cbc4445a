//! Runs claimed tasks with the handlers of the registered task types.

use std::sync::Arc;
use std::time::Duration;

use tasker_core::task::retry::{Backoff, Failure};
use tasker_engine::panics::{self, Panics};
use tasker_engine::{Execution, Outcome, Runner, Slot};
use tasker_store::claim::Claimed;
use tracing::{Instrument, Span};

use crate::context::{Context, RunFacts};
use crate::handler::Handler;
use crate::registry::Registry;
use crate::task_error::TaskError;

/// The handlers of a worker.
#[derive(Debug)]
pub(crate) struct Handlers {
    pub(crate) registry: Arc<Registry>,
    pub(crate) panics: Panics,
}

impl Runner for Handlers {
    async fn run(&self, claimed: &mut Claimed, execution: Execution) -> Outcome {
        let Some(task) = self.registry.get(&claimed.task_name) else {
            // not reached: a claim takes registered types only
            return Outcome::Released;
        };
        let (span, slot) = (execution.span.clone(), execution.slot.clone());
        let context = context(claimed, execution);
        let parameters = std::mem::take(&mut claimed.parameters);
        call(self.panics, &task.handler, context, parameters, slot, span).await
    }

    fn reads_parameters(&self, task_name: &str) -> bool {
        self.registry
            .get(task_name)
            .is_none_or(|task| task.reads_parameters)
    }

    fn backoff(&self, task_name: &str) -> Backoff {
        self.registry
            .get(task_name)
            .map_or_else(Backoff::default, |task| task.backoff)
    }
}

/// Calls the handler and catches its panic.
async fn call(
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
    match caught {
        Ok(Ok(result)) => Outcome::Returned(result),
        Ok(Err(error)) => Outcome::Failed(failure(&error), error.text()),
        Err(caught) => Outcome::Panicked(caught),
    }
}

fn failure(error: &TaskError) -> Failure {
    match error {
        TaskError::Retry(_) => Failure::Retry,
        TaskError::RetryAfter(delay, _) => Failure::RetryAfter(*delay),
        TaskError::Fail(_) => Failure::Fail,
    }
}

fn context(claimed: &mut Claimed, execution: Execution) -> Context {
    let facts = RunFacts {
        run: claimed.run,
        attempt: claimed.attempts + 1,
        max_attempts: claimed.max_attempts,
        timeout: Duration::from_secs_f64(claimed.timeout_seconds),
        correlation_id: claimed.correlation_id.clone(),
        traceparent: claimed.traceparent.take(),
        metadata: std::mem::take(&mut claimed.metadata),
    };
    let Execution {
        cancelled,
        span,
        reports,
        tracker,
        ..
    } = execution;
    Context::new(facts, cancelled, reports, tracker, span)
}
