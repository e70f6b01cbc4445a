//! The ticket of a task that waits to be written. The caller withdraws it or the flusher takes it before it
//! sends the task, whichever comes first, so a caller that stops waiting knows whether its task may have been
//! sent.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const WITHDRAWN: u8 = 1;
const TAKEN: u8 = 2;

/// The ticket of one task: waiting, withdrawn or taken.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    state: AtomicU8,
}

impl Ticket {
    /// Withdraws the ticket for the caller. Returns false if the task may have been sent already.
    pub(super) fn withdraw(&self) -> bool {
        self.end(WITHDRAWN) == WITHDRAWN
    }

    /// Takes the ticket before the task is sent, for the first time or again. Returns false if the caller has
    /// withdrawn it.
    pub(super) fn take(&self) -> bool {
        self.end(TAKEN) == TAKEN
    }

    /// Moves the ticket from waiting to `end`; returns its state, which is another one if it was moved
    /// before.
    fn end(&self, end: u8) -> u8 {
        // one atomic step decides between the caller and the flusher, so exactly one of them wins
        let moved = self
            .state
            .compare_exchange(WAITING, end, Ordering::AcqRel, Ordering::Acquire);
        moved.map_or_else(|before| before, |_| end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_was_taken_cannot_be_withdrawn_and_may_be_sent_again() {
        let ticket = Ticket::default();
        assert!(ticket.take());
        assert!(!ticket.withdraw());
        assert!(ticket.take());
    }

    #[test]
    fn a_task_that_was_withdrawn_is_not_sent() {
        let ticket = Ticket::default();
        assert!(ticket.withdraw());
        assert!(!ticket.take());
    }
}
