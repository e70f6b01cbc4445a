//! The output of a service: log lines up to a limit, and its last lines. No I/O but the log.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// Maximum number of logged lines a second; further lines are only counted.
const LINES_PER_SECOND: u32 = 200;
/// Number of last lines in the result.
const TAIL_LINES: usize = 20;
/// Maximum number of characters of each of them.
const TAIL_LINE_CHARS: usize = 400;

/// The output of a command: its last lines and the limit of its log lines.
#[derive(Debug)]
pub(super) struct Output {
    name: String,
    tail: VecDeque<String>,
    second: Instant,
    logged: u32,
    left_out: u64,
}

impl Output {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            tail: VecDeque::new(),
            second: Instant::now(),
            logged: 0,
            left_out: 0,
        }
    }

    pub(super) fn take(&mut self, stream: &'static str, line: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.chars().take(TAIL_LINE_CHARS).collect());
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.log_dropped();
            (self.second, self.logged) = (Instant::now(), 0);
        }
        if self.logged < LINES_PER_SECOND {
            self.logged += 1;
            info!(service = self.name, stream, "{line}");
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn log_dropped(&mut self) {
        if self.left_out > 0 {
            warn!(
                service = self.name,
                lines = self.left_out,
                "service log limit reached; lines were dropped"
            );
            self.left_out = 0;
        }
    }

    pub(super) fn tail(&mut self) -> Vec<String> {
        std::mem::take(&mut self.tail).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_lines_are_logged_in_a_second_and_the_last_ones_kept() {
        let mut output = Output::new("web".to_owned());
        for number in 0..500 {
            output.take("stdout", &format!("{number}{}", "x".repeat(TAIL_LINE_CHARS)));
        }
        assert!(output.logged <= LINES_PER_SECOND && output.left_out >= 100);
        let tail = output.tail();
        assert_eq!(tail.len(), TAIL_LINES);
        assert!(tail[TAIL_LINES - 1].starts_with("499x"));
        assert!(tail.iter().all(|line| line.chars().count() == TAIL_LINE_CHARS));
    }
}
