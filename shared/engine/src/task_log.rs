//! Log lines about tasks: starts and outcomes of runs (`TASK_LOG`).
//!
//! An outcome is logged after its write was confirmed, so that no line contradicts the outcome in Postgres.
//! Lines show the kind of a failure and never its error text, which may hold parameters.
//!
//! A worker may run tens of thousands of tasks a second. Each level writes at most 100 lines a second, and
//! then one line with the number of dropped ones; the limit is checked by one atomic operation before a line
//! is formatted.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tasker_core::task::TaskStatus;
use tasker_platform::telemetry::traces::LINES;
use tasker_store::claim::Claimed;
use tasker_store::end_runs::{EndedRun, Verdict};
use tokio_util::sync::CancellationToken;
use tracing::{Span, error, error_span, info, warn};

use crate::completion_metrics::Summary;
use crate::settings::LoggedRuns;

/// The target of the lines, which a log filter names. It is part of the documented interface.
const TARGET: &str = "tasker_worker::task_log";
/// Maximum number of lines of one level in a second.
const LINES_PER_SECOND: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// The task log, with the limit of each level.
#[derive(Debug)]
pub(crate) struct TaskLog {
    logged: LoggedRuns,
    info: Limit,
    warn: Limit,
    error: Limit,
}

/// The number of lines of one level in the current second.
#[derive(Debug, Default)]
struct Limit(AtomicU32);

impl Limit {
    /// Counts a line and returns true if it is within the limit.
    fn admits(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND
    }

    /// Begins the next second and returns the number of lines that were dropped in the last one.
    fn next_second(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed).saturating_sub(LINES_PER_SECOND)
    }
}

impl TaskLog {
    pub(crate) fn new(logged: LoggedRuns) -> Self {
        Self {
            logged,
            info: Limit::default(),
            warn: Limit::default(),
            error: Limit::default(),
        }
    }

    /// Logs each second, until `stop`, the number of dropped lines.
    pub(crate) async fn report(&self, stop: &CancellationToken) {
        while self.logged != LoggedRuns::None && !stop.is_cancelled() {
            let _ = tokio::time::timeout(SECOND, stop.cancelled()).await;
            self.report_once();
        }
    }

    fn report_once(&self) {
        let left_out = self.info.next_second();
        if left_out > 0 {
            info!(
                target: TARGET,
                left_out,
                "task log limit reached: 100 lines of a level in a second"
            );
        }
        let left_out = self.warn.next_second();
        if left_out > 0 {
            warn!(
                target: TARGET,
                left_out,
                "task log limit reached: 100 lines of a level in a second"
            );
        }
        let left_out = self.error.next_second();
        if left_out > 0 {
            error!(
                target: TARGET,
                left_out,
                "task log limit reached: 100 lines of a level in a second"
            );
        }
    }

    /// Logs the start of a run within its span.
    pub(crate) fn started(&self, claimed: &Claimed, span: &Span) {
        if self.logged == LoggedRuns::All && self.info.admits() {
            let attempt = claimed.attempts + 1;
            info!(target: TARGET, parent: span, queue = %claimed.queue, attempt, "task started");
        }
    }

    /// Returns true if the outcomes of successful runs are logged.
    pub(crate) fn logs_successes(&self) -> bool {
        self.logged == LoggedRuns::All
    }

    /// Returns true if the outcomes of failed runs are logged.
    pub(crate) fn logs_failures(&self) -> bool {
        self.logged != LoggedRuns::None
    }

    /// Logs the outcome of a run whose task is in the state `status` now. `ended` is the record of a run
    /// without a result.
    pub(crate) fn ended(&self, run: &Summary, status: TaskStatus, ended: Option<&EndedRun>) {
        match status {
            TaskStatus::RetryScheduled => self.attempt_failed(run, ended),
            TaskStatus::DeadLetter => self.dead_letter(run, ended),
            TaskStatus::Completed => self.successful(run, "task completed"),
            TaskStatus::Cancelled => self.successful(run, "task cancelled"),
            _ => self.successful(run, "run released; the task is pending again"),
        }
    }

    fn successful(&self, run: &Summary, event: &'static str) {
        if self.logs_successes() && self.info.admits() {
            info!(
                target: TARGET,
                parent: &span(run),
                attempt = run.attempt,
                seconds = seconds(run.elapsed),
                "{event}"
            );
        }
    }

    fn attempt_failed(&self, run: &Summary, ended: Option<&EndedRun>) {
        if !self.logs_failures() || !self.warn.admits() {
            return;
        }
        let delay = ended.and_then(|ended| match ended.verdict {
            Verdict::RetryIn(delay) => Some(delay),
            _ => None,
        });
        warn!(
            target: TARGET,
            parent: &span(run),
            failure = ended.map(|ended| ended.reason),
            panicked_at = run.panicked_at.as_deref(),
            attempt = run.attempt,
            max_attempts = run.max_attempts,
            seconds = seconds(run.elapsed),
            retry_in_seconds = delay.map(seconds),
            retry_at = delay.and_then(|delay| after(now(), delay)),
            "attempt failed"
        );
    }

    fn dead_letter(&self, run: &Summary, ended: Option<&EndedRun>) {
        if !self.logs_failures() || !self.error.admits() {
            return;
        }
        let reason = ended.and_then(|ended| match ended.verdict {
            Verdict::DeadLetter(reason) => Some(reason.as_str()),
            _ => None,
        });
        error!(
            target: TARGET,
            parent: &span(run),
            reason,
            failure = ended.map(|ended| ended.reason),
            panicked_at = run.panicked_at.as_deref(),
            attempt = run.attempt,
            max_attempts = run.max_attempts,
            seconds = seconds(run.elapsed),
            "dead letter"
        );
    }

    /// Logs that the completion of a run was fenced.
    pub(crate) fn discarded(&self, run: &Summary) {
        if self.logs_failures() && self.warn.admits() {
            warn!(
                target: TARGET,
                parent: &span(run),
                attempt = run.attempt,
                seconds = seconds(run.elapsed),
                "completion discarded: the run is no longer this worker's" // words: ok
            );
        }
    }
}

/// Returns the span of a finished run. Its level is `error`, so that a filter that lets a line through lets
/// its span through.
fn span(run: &Summary) -> Span {
    error_span!(
        target: LINES,
        parent: None,
        "task",
        task_id = %run.run.task,
        task_name = %run.task_name,
        run = run.run.number,
        correlation_id = %run.correlation_id,
    )
}

/// Returns the seconds, rounded to milliseconds.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[expect(
    clippy::disallowed_methods,
    reason = "a log line has the time of its process, as its own timestamp does"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn after(now: DateTime<Utc>, delay: Duration) -> Option<String> {
    let time = now.checked_add_signed(TimeDelta::from_std(delay).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_admits_a_hundred_lines_and_counts_the_others() {
        let limit = Limit::default();
        let admitted = (0..250).filter(|_| limit.admits()).count();
        assert_eq!((admitted, limit.next_second()), (100, 150));
        assert!(limit.admits());
        assert_eq!(limit.next_second(), 0);
    }

    #[test]
    fn the_time_of_a_retry_is_a_delay_from_now() {
        let now = DateTime::from_timestamp(0, 0).expect("a time");
        let delay = Duration::from_millis(90_250);
        assert_eq!(after(now, delay).as_deref(), Some("1970-01-01T00:01:30.250Z"));
        assert_eq!(after(now, Duration::MAX), None);
        assert!((seconds(Duration::from_micros(1_234_567)) - 1.235).abs() < f64::EPSILON);
    }
}
