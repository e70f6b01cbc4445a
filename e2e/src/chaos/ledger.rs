//! What was asked for and what was answered: what the end is held against.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// What a task is meant to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Succeeds at its first attempt.
    Sound,
    /// Fails at every attempt.
    Failing,
    /// Takes longer than its timeout.
    Overlong,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Accepted: these tasks are new.
    New(Vec<Uuid>),
    /// The key is known: it is this task.
    Known(Uuid),
    /// Nothing was done: the server says so, or could not be reached.
    NothingDone,
    /// No answer, or one that says that the outcome is unknown.
    Unknown,
}

/// A request to submit.
#[derive(Debug, Clone)]
pub(super) struct Submit {
    /// The correlation id of its tasks; in a batch, what comes before `/`.
    pub(super) tag: String,
    /// What its tasks do.
    pub(super) kind: Kind,
    /// How many tasks it has.
    pub(super) size: usize,
    /// Its idempotency key.
    pub(super) key: Option<String>,
    /// What came back.
    pub(super) answer: Answer,
}

/// What an answer to a request to cancel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancelAnswer {
    /// It is cancelled, or is told to stop and will end so.
    Accepted,
    /// It had ended.
    TooLate,
    /// Nothing was done.
    NothingDone,
    /// No answer, or one that says that the outcome is unknown.
    Unknown,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
}

/// What the ledger holds.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Every request to submit, by when it was answered.
    pub(super) submits: Vec<Submit>,
    /// Every request to cancel.
    pub(super) cancels: Vec<(Uuid, CancelAnswer)>,
    /// Tasks that an operator may have made run again.
    pub(super) retried: HashSet<Uuid>,
    /// Every task that was acknowledged.
    pub(super) acknowledged: Vec<Uuid>,
}

impl Ledger {
    /// Remembers a request to submit.
    pub(super) fn submitted(&self, submit: Submit) {
        let mut entries = self.entries();
        if let Answer::New(ids) = &submit.answer {
            entries.acknowledged.extend(ids);
        }
        entries.submits.push(submit);
    }

    /// Remembers a request to cancel.
    pub(super) fn cancelled(&self, id: Uuid, answer: CancelAnswer) {
        self.entries().cancels.push((id, answer));
    }

    /// Remembers that a task may run again.
    pub(super) fn retried(&self, id: Uuid) {
        self.entries().retried.insert(id);
    }

    /// What it holds.
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
