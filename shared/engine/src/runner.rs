//! The interface between the loops of a worker and the code that runs its tasks.

use std::future::Future;

use tasker_core::task::retry::{Backoff, Failure};
use tasker_store::claim::Claimed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::panics::Caught;
use crate::progress::Reports;
use crate::slots::Slot;

/// Runs claimed tasks.
pub trait Runner: Send + Sync + 'static {
    /// Runs one attempt of a claimed task, and may take its parameters and metadata out of `claimed`.
    ///
    /// The future is dropped when the attempt has reached its timeout, when a cancelled run does not return
    /// in time, and when the run is released.
    fn run(&self, claimed: &mut Claimed, execution: Execution) -> impl Future<Output = Outcome> + Send;

    /// Returns whether the task type reads its parameters. If not, a step of that type is started without
    /// reading its inputs.
    fn reads_parameters(&self, task_name: &str) -> bool;

    /// Returns the backoff between the attempts of a task type.
    fn backoff(&self, task_name: &str) -> Backoff;
}

/// The handles of one execution.
#[derive(Debug)]
pub struct Execution {
    /// Cancelled when the task is cancelled, or when the run ends before its runner has returned.
    pub cancelled: CancellationToken,
    /// The span of the run's log lines.
    pub span: Span,
    /// The slot that the run occupies. A thread that outlives the run keeps it.
    pub slot: Slot,
    /// Receives the run's progress reports.
    pub reports: Reports,
    /// Tracks tasks that must finish even if the run's future is dropped.
    pub tracker: TaskTracker,
}

/// The outcome of a run.
#[derive(Debug)]
pub enum Outcome {
    /// It returned a result: JSON text.
    Returned(String),
    /// It failed with this error text.
    Failed(Failure, String),
    /// It panicked.
    Panicked(Caught),
    /// It did not take place: no attempt is counted, and the task is requeued.
    Released,
}
