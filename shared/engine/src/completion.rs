//! One completion: a run that has finished, and the write that records it.

use std::time::Duration;

use tasker_core::task::QueueName;
use tasker_platform::batcher;
use tasker_store::claim::Claimed;
use tasker_store::complete::Success;
use tasker_store::end_runs::{EndedRun, Verdict};
use tokio::sync::OwnedSemaphorePermit;

use crate::completion_metrics::Summary;

/// A run whose handler has finished, with what is to be written about it.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) summary: Summary,
    pub(crate) queue: QueueName,
    /// Whether it is the run of a step of a workflow, which has statements of its own.
    pub(crate) is_step: bool,
    pub(crate) record: Record,
}

/// A completion that waits to be written.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) completion: Completion,
    /// Its bytes of the limit on waiting results.
    pub(crate) reservation: OwnedSemaphorePermit,
}

/// The write that records a completion.
#[derive(Debug)]
pub(crate) enum Record {
    Success(Success),
    Other(EndedRun),
}

impl Completion {
    pub(crate) fn new(
        claimed: Claimed,
        elapsed: Duration,
        panicked_at: Option<String>,
        record: Record,
    ) -> Self {
        Self {
            summary: Summary {
                run: claimed.run,
                task_name: claimed.task_name,
                correlation_id: claimed.correlation_id,
                attempt: claimed.attempts + 1,
                max_attempts: claimed.max_attempts,
                elapsed,
                panicked_at,
            },
            queue: claimed.queue,
            is_step: claimed.step.is_some(),
            record,
        }
    }

    /// Returns true if the run counts as an attempt: a released run does not.
    pub(crate) fn counts_as_attempt(&self) -> bool {
        !matches!(&self.record, Record::Other(ended) if matches!(ended.verdict, Verdict::Released))
    }

    /// Returns the length of its result or error.
    pub(crate) fn bytes(&self) -> usize {
        match &self.record {
            Record::Success(success) => success.result.len(),
            Record::Other(ended) => ended.error.as_ref().map_or(0, String::len),
        }
    }
}

impl batcher::Item for Queued {
    fn bytes(&self) -> usize {
        self.completion.bytes()
    }
}
