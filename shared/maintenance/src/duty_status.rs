//! The status of the maintenance duties in this process: the last run of each, and whether this server leads.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_queue as queue;
use tasker_store as store;
use tracing::{info, warn};

/// The status of the duties of this server, shared by all of them.
#[derive(Debug, Default)]
pub struct DutyStatus(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    leads_since: Option<Instant>,
    rebuilt: Option<Instant>,
    /// The duties that every server runs.
    own: BTreeMap<&'static str, Noted>,
    /// The duties that only the leader runs.
    led: BTreeMap<&'static str, Noted>,
}

/// The entry of one duty.
#[derive(Debug)]
struct Noted {
    runs: DutyRuns,
    /// The error of the last run; `None` if it succeeded.
    failure: Option<String>,
}

/// The runs of a duty.
#[derive(Debug, Clone, Copy)]
pub struct DutyRuns {
    /// The end of the last run.
    pub ended: Instant,
    /// Its duration.
    pub took: Duration,
    /// True if it failed.
    pub failed: bool,
    /// The number of runs.
    pub count: u64,
    /// The number of runs that failed.
    pub failures: u64,
}

/// The error of a run.
#[derive(Debug, thiserror::Error)]
pub enum DutyError {
    /// Postgres rejected a statement or did not answer.
    #[error("Postgres: {0}")]
    Postgres(#[from] store::Error),
    /// Redis rejected a command or did not answer.
    #[error("Redis: {}", with_causes(.0))]
    Redis(#[from] queue::Error),
}

/// Returns an error and its causes as one line.
fn with_causes(error: &queue::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// The part of a [`DutyStatus`] that one duty writes.
#[derive(Debug, Clone)]
pub struct DutyRecorder {
    status: Arc<DutyStatus>,
    duty: &'static str,
    leads: bool,
}

impl DutyStatus {
    /// Returns the recorder of a duty that every server runs.
    pub fn recorder(self: &Arc<Self>, duty: &'static str) -> DutyRecorder {
        DutyRecorder {
            status: Arc::clone(self),
            duty,
            leads: false,
        }
    }

    /// Returns the recorder of a leader's duty. Its entry is removed when this server loses leadership.
    pub fn leader_recorder(self: &Arc<Self>, duty: &'static str) -> DutyRecorder {
        DutyRecorder {
            leads: true,
            ..self.recorder(duty)
        }
    }

    /// Returns the time since which this server leads; `None` if it does not.
    pub fn leads_since(&self) -> Option<Instant> {
        self.entries().leads_since
    }

    /// Returns the time of the last rebuilt list; `None` without one.
    pub fn rebuilt(&self) -> Option<Instant> {
        self.entries().rebuilt
    }

    /// Records that a list was rebuilt.
    pub fn record_rebuild(&self) {
        self.entries().rebuilt = Some(Instant::now());
    }

    /// Returns the runs of each duty that this server has now, by its name.
    pub fn runs(&self) -> Vec<(&'static str, DutyRuns)> {
        let entries = self.entries();
        let all = entries.own.iter().chain(&entries.led);
        all.map(|(duty, noted)| (*duty, noted.runs)).collect()
    }

    /// Records whether this server leads, and removes the entries of the leader's duties.
    pub fn leads(&self, leads: bool) {
        let mut entries = self.entries();
        entries.leads_since = leads.then(Instant::now);
        // at both changes: numbers of an earlier term would read as those of the present leader
        entries.led.clear();
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DutyRecorder {
    /// Awaits a run, records its outcome and duration, and returns its value; `None` if it failed.
    ///
    /// The first of several runs that fail for the same cause is logged, and so is the first that succeeds
    /// again.
    pub async fn record<T, E>(&self, run: impl Future<Output = Result<T, E>>) -> Option<T>
    where
        DutyError: From<E>,
    {
        let began = Instant::now();
        let result = run.await.map_err(DutyError::from);
        let failure = result.as_ref().err().map(ToString::to_string);
        let before = self.note(began, failure.clone());
        match failure {
            // once per cause: an outage lasts for many runs
            Some(cause) if before.as_ref() != Some(&cause) => warn!(cause, "{}: run failed", self.duty),
            None if before.is_some() => info!("{}: recovered", self.duty),
            _ => {}
        }
        result.ok()
    }

    /// Records a run; returns the error of the run before it, `None` if that one succeeded.
    fn note(&self, began: Instant, failure: Option<String>) -> Option<String> {
        let now = Instant::now();
        let failed = failure.is_some();
        histogram!("tasker_duty_seconds", "duty" => self.duty).record(now.duration_since(began));
        counter!("tasker_duty_failures_total", "duty" => self.duty).increment(u64::from(failed));
        let mut entries = self.status.entries();
        let duties = if self.leads {
            &mut entries.led
        } else {
            &mut entries.own
        };
        let before = duties.get(self.duty).map(|noted| noted.runs);
        let runs = DutyRuns {
            ended: now,
            took: now.duration_since(began),
            failed,
            count: before.map_or(0, |runs| runs.count) + 1,
            failures: before.map_or(0, |runs| runs.failures) + u64::from(failed),
        };
        duties
            .insert(self.duty, Noted { runs, failure })
            .and_then(|before| before.failure)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use futures_util::FutureExt;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn fails() -> Ready<store::Result<()>> {
        ready(Err(store::Error::timed_out()))
    }

    fn works() -> Ready<store::Result<u8>> {
        ready(Ok(7))
    }

    #[tokio::test]
    async fn the_last_run_of_a_duty_is_remembered_and_all_are_counted() {
        let status = Arc::new(DutyStatus::default());
        let recorder = status.recorder("cleaner");
        assert_eq!(recorder.record(fails()).await, None);
        assert_eq!(recorder.record(works()).await, Some(7));
        let [(duty, runs)] = status.runs()[..] else {
            panic!("one duty")
        };
        assert_eq!((duty, runs.failed), ("cleaner", false));
        assert_eq!((runs.count, runs.failures), (2, 1));
    }

    #[test]
    fn a_run_is_measured_once() {
        let duty = Arc::new(DutyStatus::default()).recorder("cleaner");
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || duty.record(fails()).now_or_never());
        let text = recorder.handle().render();
        for line in [
            r#"tasker_duty_seconds_count{duty="cleaner"} 1"#,
            r#"tasker_duty_failures_total{duty="cleaner"} 1"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[tokio::test]
    async fn the_leaders_duties_are_removed_when_it_loses_leadership() {
        let status = Arc::new(DutyStatus::default());
        status.leads(true);
        for recorder in [status.recorder("promoter"), status.leader_recorder("recoverer")] {
            recorder.record(works()).await.expect("a run");
        }
        assert_eq!(status.runs().len(), 2);
        status.leads(false);
        assert!(status.leads_since().is_none());
        let left: Vec<_> = status.runs().into_iter().map(|(duty, _)| duty).collect();
        assert_eq!(left, ["promoter"]);
    }
}
