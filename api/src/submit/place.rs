//! A place among those who wait for a flusher: given up by the one who waits, or taken by the flusher, whoever is first. So a
//! caller that waits no longer knows whether its task may have been sent.

use std::sync::atomic::{AtomicBool, Ordering};

/// The place of one task.
#[derive(Debug, Default)]
pub(super) struct Place {
    over: AtomicBool,
}

impl Place {
    /// The caller waits no longer. False if a flusher has the task already.
    pub(super) fn withdraw(&self) -> bool {
        self.end()
    }

    /// A flusher takes the task. False if its caller waits no longer.
    pub(super) fn take(&self) -> bool {
        self.end()
    }

    fn end(&self) -> bool {
        !self.over.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_a_flusher_has_cannot_be_withdrawn() {
        let place = Place::default();
        assert!(place.take());
        assert!(!place.withdraw());
    }

    #[test]
    fn a_task_that_was_withdrawn_is_not_written() {
        let place = Place::default();
        assert!(place.withdraw());
        assert!(!place.take());
    }
}
