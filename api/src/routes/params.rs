//! The query parameters that several routes share.

use std::time::Duration;

use tasker_core::duration;
use tasker_core::task::{QueueName, TaskId};

use crate::cursor;
use crate::error::ApiError;
use crate::validation_error::ValidationErrorKind;

/// The default number of tasks of a page.
pub(super) const LIMIT: i64 = 50;
/// The maximum number of tasks of a page.
const LIMIT_MAX: i64 = 1_000;

/// Returns the position in the cursor of the list of `filter`.
pub(super) fn read_cursor(text: Option<String>, filter: &str) -> Result<Option<TaskId>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let invalid = || {
        ApiError::invalid(
            ValidationErrorKind::InvalidCursor,
            "cursor",
            "was not issued by this list for this filter",
        )
    };
    cursor::decode(&text, filter).map(Some).ok_or_else(invalid)
}

/// The maximum time that a request may wait for an end.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// Reads the time that a request waits for an end.
pub(super) fn read_wait(text: &str) -> Result<Duration, &'static str> {
    match duration::parse(text) {
        Ok(wait) if wait <= WAIT_MAX => Ok(wait),
        _ => Err("must be a number of seconds or a duration such as 30s, at most 60 s"),
    }
}

/// Reads a queue by name or alias.
pub(super) fn read_queue(text: &str) -> Result<QueueName, String> {
    QueueName::parse(text).map_err(|error| error.to_string())
}

/// Reads the number of tasks of a page.
pub(super) fn read_limit(text: &str) -> Result<i64, String> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("must be a whole number from 1 to {LIMIT_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_one_to_a_thousand() {
        for text in ["0", "-1", "1001", "1000000000", "ten", "", "99999999999999999999"] {
            assert!(read_limit(text).is_err(), "{text}");
        }
        assert_eq!((read_limit("1"), read_limit("1000")), (Ok(1), Ok(1000)));
    }
}
