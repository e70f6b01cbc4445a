//! A ticket among those who wait to be written: given up by the one who waits, or taken by the flusher that is about to send the
//! task, whoever is first. So a caller that waits no longer knows whether its task may have been sent.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const WITHDRAWN: u8 = 1;
const TAKEN: u8 = 2;

/// The ticket of one task.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    state: AtomicU8,
}

impl Ticket {
    /// The caller waits no longer. False if the task may have been sent already.
    pub(super) fn withdraw(&self) -> bool {
        self.end(WITHDRAWN) == WITHDRAWN
    }

    /// The task is about to be sent, for the first time or again. False if its caller waits no longer.
    pub(super) fn take(&self) -> bool {
        self.end(TAKEN) == TAKEN
    }

    /// Moves to `end` if nobody has moved it before, and answers where it is.
    fn end(&self, end: u8) -> u8 {
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
