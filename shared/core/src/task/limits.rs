//! The limits of the API contract. They are enforced on input; CHECK constraints of the table repeat the most
//! important.

use std::time::Duration;

/// Maximum length of a task name, in characters.
pub const TASK_NAME_CHARS: usize = 255;
/// Maximum length of an idempotency key or correlation id, in characters.
pub const KEY_CHARS: usize = 255;
/// Maximum number of tags of one task.
pub const TAGS: usize = 20;
/// Maximum length of a tag, in characters.
pub const TAG_CHARS: usize = 128;
/// Maximum number of retries after the first attempt.
pub const MAX_RETRIES: i32 = 100;
/// Maximum timeout of one attempt.
pub const TIMEOUT: Duration = Duration::from_hours(7 * 24);
/// Maximum time that a task may be scheduled ahead: a year, leap day included.
pub const DELAY: Duration = Duration::from_hours(366 * 24);
/// Maximum nesting of a JSON document.
pub const JSON_DEPTH: usize = 128;
/// Maximum length of a result, in bytes of JSON. A longer one fails the attempt.
pub const RESULT_BYTES: usize = 1024 * 1024;
/// Maximum length of a progress report, in bytes of JSON. A longer one is rejected.
pub const PROGRESS_BYTES: usize = 16 * 1024;
/// Maximum length of an error text, in bytes. A longer one is cut and marked as cut.
pub const ERROR_BYTES: usize = 16 * 1024;
/// Maximum number of tasks in one batch request.
pub const BATCH_TASKS: usize = 10_000;
/// The maximum number of declared queues.
pub const QUEUES: usize = 1_000;
/// Number of days that totals are kept: a year, and a month to compare with the same month a year earlier.
pub const TOTALS_DAYS: i32 = 400;
/// Number of crashes from which on a task is a suspect, and runs alone.
pub const SUSPECT_CRASHES: i32 = 2;

/// Cuts an error text to [`ERROR_BYTES`], marks it as cut, and replaces NUL characters, which Postgres cannot
/// store.
pub fn cut_error(text: &str) -> String {
    const NOTE: &str = " … (cut)";
    // before the length is checked: the replacement is three bytes long
    let clean = text.replace('\0', "\u{fffd}");
    if clean.len() <= ERROR_BYTES {
        return clean;
    }
    let end = clean.floor_char_boundary(ERROR_BYTES - NOTE.len());
    format!("{}{NOTE}", &clean[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_error_stays_as_it_is() {
        assert_eq!(cut_error("no route to host"), "no route to host");
    }

    #[test]
    fn a_long_error_is_cut_at_a_character_and_says_so() {
        let cut = cut_error(&"ä".repeat(ERROR_BYTES));
        assert!(cut.len() <= ERROR_BYTES);
        assert!(cut.ends_with("ä … (cut)"));
    }

    #[test]
    fn a_nul_in_an_error_is_replaced() {
        assert_eq!(cut_error("a\0b"), "a\u{fffd}b");
    }
}
