//! What became of the last pass of each duty in this process, and whether this server leads.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tasker_shared::{queue, store};
use tracing::{info, warn};

use crate::error::describe;

/// What the duties of this server did.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    leads_since: Option<Instant>,
    rebuilt: Option<Instant>,
    /// Of the duties that every server has.
    own: BTreeMap<&'static str, Noted>,
    /// Of those that it has while it leads.
    led: BTreeMap<&'static str, Noted>,
}

/// What is noted of a duty.
#[derive(Debug)]
struct Noted {
    passes: Passes,
    /// Why the last pass failed, if it did.
    failure: Option<String>,
}

/// The passes of a duty.
#[derive(Debug, Clone, Copy)]
pub struct Passes {
    /// When the last one ended.
    pub ended: Instant,
    /// How long it took.
    pub took: Duration,
    /// Whether it failed.
    pub failed: bool,
    /// How many there were.
    pub count: u64,
    /// How many of them failed.
    pub failures: u64,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// Postgres refused a statement or did not answer.
    #[error("Postgres: {}", describe(.0))]
    Postgres(#[from] store::Error),
    /// Redis refused a command or did not answer.
    #[error("Redis: {}", with_causes(.0))]
    Redis(#[from] queue::Error),
}

/// An error and what caused it, in a line.
fn with_causes(error: &queue::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Where one duty writes.
#[derive(Debug, Clone)]
pub struct Page {
    journal: Arc<Journal>,
    duty: &'static str,
    leads: bool,
}

impl Journal {
    /// Where a duty writes that every server has.
    pub fn page(self: &Arc<Self>, duty: &'static str) -> Page {
        Page {
            journal: Arc::clone(self),
            duty,
            leads: false,
        }
    }

    /// Where a duty of the leader writes; forgotten when this server leads no more.
    pub fn leader_page(self: &Arc<Self>, duty: &'static str) -> Page {
        Page {
            leads: true,
            ..self.page(duty)
        }
    }

    /// Since when this server leads, if it does.
    pub fn leads_since(&self) -> Option<Instant> {
        self.entries().leads_since
    }

    /// When this server last made a list anew, if ever.
    pub fn rebuilt(&self) -> Option<Instant> {
        self.entries().rebuilt
    }

    /// What each duty did that this server has now, by its name.
    pub fn passes(&self) -> Vec<(&'static str, Passes)> {
        let entries = self.entries();
        let all = entries.own.iter().chain(&entries.led);
        all.map(|(duty, noted)| (*duty, noted.passes)).collect()
    }

    /// Notes whether this server leads.
    pub fn leads(&self, leads: bool) {
        let mut entries = self.entries();
        entries.leads_since = leads.then(Instant::now);
        entries.led.clear();
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// Carries a pass out, notes how it ended and how long it took, and answers what it did. A failure is answered with nothing:
    /// the next pass goes on. It is told in the log, unless the pass before failed alike: an outage lasts for many. So is its end.
    pub async fn pass<T, E>(&self, pass: impl Future<Output = Result<T, E>>) -> Option<T>
    where
        PassError: From<E>,
    {
        let began = Instant::now();
        let result = pass.await.map_err(PassError::from);
        let failure = result.as_ref().err().map(ToString::to_string);
        let before = self.note(began, failure.clone());
        match failure {
            Some(cause) if before.as_ref() != Some(&cause) => warn!(cause, "{}: pass failed", self.duty),
            None if before.is_some() => info!("{}: works again", self.duty),
            _ => {}
        }
        result.ok()
    }

    /// Notes that a list was made anew.
    pub fn rebuilt(&self) {
        self.journal.entries().rebuilt = Some(Instant::now());
    }

    /// Notes a pass, and answers why the one before it failed, if it did.
    fn note(&self, began: Instant, failure: Option<String>) -> Option<String> {
        let now = Instant::now();
        let failed = failure.is_some();
        histogram!("tasker_duty_seconds", "duty" => self.duty).record(now.duration_since(began));
        counter!("tasker_duty_failures_total", "duty" => self.duty).increment(u64::from(failed));
        let mut entries = self.journal.entries();
        let duties = if self.leads {
            &mut entries.led
        } else {
            &mut entries.own
        };
        let before = duties.get(self.duty).map(|noted| noted.passes);
        let passes = Passes {
            ended: now,
            took: now.duration_since(began),
            failed,
            count: before.map_or(0, |passes| passes.count) + 1,
            failures: before.map_or(0, |passes| passes.failures) + u64::from(failed),
        };
        duties
            .insert(self.duty, Noted { passes, failure })
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
        ready(Err(store::Error::PoolTimedOut))
    }

    fn works() -> Ready<store::Result<u8>> {
        ready(Ok(7))
    }

    #[tokio::test]
    async fn the_last_pass_of_a_duty_is_remembered_and_all_are_counted() {
        let journal = Arc::new(Journal::default());
        let page = journal.page("cleaner");
        assert_eq!(page.pass(fails()).await, None);
        assert_eq!(page.pass(works()).await, Some(7));
        let [(duty, passes)] = journal.passes()[..] else {
            panic!("one duty")
        };
        assert_eq!((duty, passes.failed), ("cleaner", false));
        assert_eq!((passes.count, passes.failures), (2, 1));
    }

    #[test]
    fn a_pass_is_measured_once() {
        let page = Arc::new(Journal::default()).page("cleaner");
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || page.pass(fails()).now_or_never());
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
    async fn what_a_leader_did_is_forgotten_when_it_leads_no_more() {
        let journal = Arc::new(Journal::default());
        journal.leads(true);
        for page in [journal.page("promoter"), journal.leader_page("recoverer")] {
            page.pass(works()).await.expect("a pass");
        }
        assert_eq!(journal.passes().len(), 2);
        journal.leads(false);
        assert!(journal.leads_since().is_none());
        let left: Vec<_> = journal.passes().into_iter().map(|(duty, _)| duty).collect();
        assert_eq!(left, ["promoter"]);
    }
}
