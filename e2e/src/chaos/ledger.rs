//! The requests of the clients and their responses, which the final state is verified against.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The behavior of a task's handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Succeeds at its first attempt.
    Succeeding,
    /// Fails at every attempt.
    Failing,
    /// Takes longer than its timeout.
    Overlong,
}

/// The outcome of a submit by its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Accepted as these new tasks.
    New(Vec<Uuid>),
    /// Deduplicated to this task by its key.
    Known(Uuid),
    /// Without effect: the server said so or could not be reached.
    NothingDone,
    /// No response, or one with an unknown outcome.
    Unknown,
}

/// A submit request.
#[derive(Debug, Clone)]
pub(super) struct Submit {
    /// The correlation id of its tasks; in a batch, the part before `/`.
    pub(super) tag: String,
    /// The behavior of its tasks.
    pub(super) kind: Kind,
    /// Number of tasks.
    pub(super) size: usize,
    /// Its idempotency key.
    pub(super) key: Option<String>,
    /// Its outcome.
    pub(super) answer: Answer,
}

/// The outcome of a cancel request by its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancelAnswer {
    /// Cancelled, or running with a cancellation that will take effect.
    Accepted,
    /// The task had finished.
    TooLate,
    /// Without effect.
    NothingDone,
    /// No response, or one with an unknown outcome.
    Unknown,
}

/// The shared record of all requests.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
}

/// The contents of the ledger.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// All submits, ordered by response time.
    pub(super) submits: Vec<Submit>,
    /// All cancel requests.
    pub(super) cancels: Vec<(Uuid, CancelAnswer)>,
    /// Tasks that an operator may have retried.
    pub(super) retried: HashSet<Uuid>,
    /// All acknowledged tasks.
    pub(super) acknowledged: Vec<Uuid>,
}

impl Ledger {
    /// Records a submit.
    pub(super) fn submitted(&self, submit: Submit) {
        let mut entries = self.entries();
        if let Answer::New(ids) = &submit.answer {
            entries.acknowledged.extend(ids);
        }
        entries.submits.push(submit);
    }

    /// Records a cancel request.
    pub(super) fn cancelled(&self, id: Uuid, answer: CancelAnswer) {
        self.entries().cancels.push((id, answer));
    }

    /// Records that a task may have been retried.
    pub(super) fn retried(&self, id: Uuid) {
        self.entries().retried.insert(id);
    }

    /// Returns the contents.
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
