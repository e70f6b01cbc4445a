//! What became of the last pass of each duty in this process, and whether this server leads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};

/// What the duties of this server did.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    leads_since: Option<Instant>,
    rebuilt: Option<Instant>,
    /// Of the duties that every server has.
    own: BTreeMap<&'static str, Passes>,
    /// Of those that it has while it leads.
    led: BTreeMap<&'static str, Passes>,
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
        all.map(|(duty, passes)| (*duty, *passes)).collect()
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
    /// Carries a pass out, notes how it ended, and counts how long it took.
    pub async fn pass<T, E>(&self, pass: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let result = pass.await;
        self.note(began, result.is_err());
        metrics::histogram!("tasker_duty_seconds", "duty" => self.duty).record(began.elapsed());
        if result.is_err() {
            metrics::counter!("tasker_duty_failures_total", "duty" => self.duty).increment(1);
        }
        result
    }

    /// Notes that a list was made anew.
    pub fn rebuilt(&self) {
        self.journal.entries().rebuilt = Some(Instant::now());
    }

    fn note(&self, began: Instant, failed: bool) {
        let now = Instant::now();
        histogram!("tasker_duty_seconds", "duty" => self.duty).record(now.duration_since(began));
        counter!("tasker_duty_failures_total", "duty" => self.duty).increment(u64::from(failed));
        let mut entries = self.journal.entries();
        let passes = if self.leads {
            &mut entries.led
        } else {
            &mut entries.own
        };
        let before = passes.get(self.duty);
        let noted = Passes {
            ended: now,
            took: now.duration_since(began),
            failed,
            count: before.map_or(0, |passes| passes.count) + 1,
            failures: before.map_or(0, |passes| passes.failures) + u64::from(failed),
        };
        passes.insert(self.duty, noted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_pass_of_a_duty_is_remembered_and_all_are_counted() {
        let journal = Arc::new(Journal::default());
        let page = journal.page("cleaner");
        assert!(page.pass(async { Err::<(), ()>(()) }).await.is_err());
        assert_eq!(page.pass(async { Ok::<u8, ()>(7) }).await, Ok(7));
        let [(duty, passes)] = journal.passes()[..] else {
            panic!("one duty")
        };
        assert_eq!((duty, passes.failed), ("cleaner", false));
        assert_eq!((passes.count, passes.failures), (2, 1));
    }

    #[tokio::test]
    async fn what_a_leader_did_is_forgotten_when_it_leads_no_more() {
        let journal = Arc::new(Journal::default());
        journal.leads(true);
        for page in [journal.page("promoter"), journal.leader_page("recoverer")] {
            page.pass(async { Ok::<(), ()>(()) }).await.expect("a pass");
        }
        assert_eq!(journal.passes().len(), 2);
        journal.leads(false);
        assert!(journal.leads_since().is_none());
        let left: Vec<_> = journal.passes().into_iter().map(|(duty, _)| duty).collect();
        assert_eq!(left, ["promoter"]);
    }
}
