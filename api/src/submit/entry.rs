//! A task that waits for a flusher, with its caller.

use std::sync::Arc;

use tasker_platform::batcher;
use tasker_store::insert::NewTask;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::ticket::Ticket;
use crate::http::budget::Reservation;

/// A task on its way to a flusher.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: NewTask,
    pub(super) waiter: Waiter,
}

/// The caller that waits for a task to be written.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<Answer>,
    /// Its ticket, valid until the task is sent.
    pub(super) ticket: Arc<Ticket>,
    /// Number of flushes that included it without an answer.
    pub(super) flushes: u8,
    /// The memory reserved for its body, released when it is answered.
    pub(super) _reservation: Reservation,
}

impl Waiter {
    /// Sends the answer, and ignores that the caller may have gone.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

impl batcher::Item for Entry {
    /// Returns the approximate size of its task in a statement.
    fn bytes(&self) -> usize {
        self.task.parameters.len() + self.task.metadata.len()
    }
}
