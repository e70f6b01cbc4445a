//! The JSON bodies of the HTTP API, as the server writes and clients read them.

mod dead_letters;
mod problem;
mod queues;
mod sign_in;
mod tasks;
mod templates;
mod totals;
mod workers;
mod workflows;

use serde::Serializer;

pub use dead_letters::{DeadLetterFilter, DeadLettersPurged, DeadLettersRetried};
pub use problem::{Problem, ProblemDescription, ProblemPointer};
pub use queues::{QueueInfo, QueueRequest, QueueScaling, Queues};
pub use sign_in::{AccessToken, ApiKey, ApiKeyCreated, ApiKeyRequest, ApiKeys};
pub use tasks::{
    BatchSubmitted, Explanation, History, HistoryEvent, Reason, Submitted, Task, TaskPage, TaskResult,
    TaskState, TaskType, TaskTypes,
};
pub use templates::{TemplatePublished, TemplateRecord, TemplateSummary, TemplateWarning, Templates};
pub use totals::{DayTotals, TaskCounts, Totals, TypeTotals};
pub use workers::{Worker, Workers};
pub use workflows::{
    Workflow, WorkflowAction, WorkflowChange, WorkflowHistory, WorkflowLinks, WorkflowStarted, WorkflowStep,
    WorkflowSteps, WorkflowSummary, Workflows,
};

/// Serializes whole seconds as an integer, others with their fraction.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn seconds<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // 2^53: above it, a double does not represent every integer
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if seconds.fract() == 0.0 && seconds.abs() < EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and in range, as just checked"
        )]
        return serializer.serialize_i64(*seconds as i64);
    }
    serializer.serialize_f64(*seconds)
}
