//! The limits of the contract. Enforced where data comes in; the table's own checks hold the most important
//! again.

use std::time::Duration;

/// Longest task name, in characters.
pub const TASK_NAME_CHARS: usize = 255;
/// Longest idempotency key or correlation id, in characters.
pub const KEY_CHARS: usize = 255;
/// Most tags of one task.
pub const TAGS: usize = 20;
/// Longest tag, in characters.
pub const TAG_CHARS: usize = 128;
/// Most retries after the first try.
pub const MAX_RETRIES: i32 = 100;
/// Longest timeout of one attempt.
pub const TIMEOUT: Duration = Duration::from_hours(7 * 24);
/// How far ahead a task may be scheduled: a year, leap day included.
pub const DELAY: Duration = Duration::from_hours(366 * 24);
/// Deepest nesting of a JSON document.
pub const JSON_DEPTH: usize = 128;
/// Longest result, in bytes of JSON. A longer one fails the attempt.
pub const RESULT_BYTES: usize = 1024 * 1024;
/// Longest progress report, in bytes of JSON. A longer one is refused.
pub const PROGRESS_BYTES: usize = 16 * 1024;
/// Longest error text, in bytes. A longer one is cut and says so.
pub const ERROR_BYTES: usize = 16 * 1024;
/// Most tasks in one batch request.
pub const BATCH_TASKS: usize = 10_000;
/// The maximum number of declared queues.
pub const QUEUES: usize = 1_000;
/// For how many days totals are kept: a year, and a month to compare with that of the year before.
pub const TOTALS_DAYS: i32 = 400;
/// Runs lost with their worker from which on a task is a suspect, and runs alone.
pub const SUSPECT_CRASHES: i32 = 2;

/// Cuts an error text to [`ERROR_BYTES`] and takes out NUL characters, which Postgres cannot store; a cut
/// text says so.
pub fn cut_error(text: &str) -> String {
    const NOTE: &str = " … (cut)";
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
