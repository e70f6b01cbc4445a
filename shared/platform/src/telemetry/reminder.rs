//! Rate limit for log lines about waiting: logged at once, when the cause changes, and again every 10
//! seconds.

use std::time::{Duration, Instant};

/// Time between two log lines with the same cause.
const REMIND: Duration = Duration::from_secs(10);

/// The log state of one wait.
#[derive(Debug, Default)]
pub struct Reminder {
    last: Option<(String, Instant)>,
}

impl Reminder {
    /// Returns true if a wait for `cause` is to be logged at the time `now`, and records that it was.
    pub fn is_due(&mut self, cause: &str, now: Instant) -> bool {
        let due = self
            .last
            .as_ref()
            .is_none_or(|(said, at)| said != cause || now.duration_since(*at) >= REMIND);
        if due {
            self.last = Some((cause.to_owned(), now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_due_at_once_when_it_changes_and_each_ten_seconds() {
        let mut reminder = Reminder::default();
        let start = Instant::now();
        let mut due = |cause, seconds| reminder.is_due(cause, start + Duration::from_secs(seconds));
        assert!(due("refused", 0));
        assert!(!due("refused", 9));
        assert!(due("refused", 10));
        assert!(!due("refused", 19));
        assert!(due("wrong password", 19));
        assert!(!due("wrong password", 20));
    }
}
