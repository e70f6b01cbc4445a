//! The runs that this worker holds: from the claim's reply until the write of the end is answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tasker_shared::task::{Run, TaskId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The held runs by task: a worker never takes a task that it already holds.
#[derive(Debug)]
pub(crate) struct InFlight {
    runs: Mutex<HashMap<TaskId, InFlightRun>>,
    /// Whether there are any. Changed under the lock of `runs`, and only when it changes: nobody waits for a number.
    any: watch::Sender<bool>,
    /// When each claim that is on its way was begun. There are a few at most.
    claims: Mutex<Vec<Instant>>,
}

/// A claim on its way: from before it is sent until what it took is held.
#[derive(Debug)]
pub(crate) struct Claiming<'a> {
    held: &'a InFlight,
    since: Instant,
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        let mut claims = self.in_flight.claims();
        if let Some(this) = claims.iter().position(|since| *since == self.since) {
            claims.swap_remove(this);
        }
    }
}

#[derive(Debug)]
struct InFlightRun {
    number: i32,
    suspect: bool,
    cancelled: CancellationToken,
}

/// What became of a run that was claimed.
#[derive(Debug)]
pub(crate) enum Added {
    /// It is to be started; the token is cancelled when somebody cancels its task.
    New(CancellationToken),
    /// This very run is held already: a crash of Postgres had forgotten its claim, and it was claimed once more.
    SameRun,
    /// An earlier run of the task still ends here.
    OtherRun,
}

impl Default for InFlight {
    fn default() -> Self {
        Self {
            runs: Mutex::default(),
            any: watch::Sender::new(false),
            claims: Mutex::default(),
        }
    }
}

impl InFlight {
    /// Takes note of a run.
    pub(crate) fn add(&self, run: Run, suspect: bool) -> Added {
        let cancelled = CancellationToken::new();
        let new = InFlightRun {
            number: run.number,
            suspect,
            cancelled: cancelled.clone(),
        };
        let mut runs = self.runs();
        if let Some(held) = runs.get(&run.task) {
            return if held.number == run.number {
                Added::SameRun
            } else {
                Added::OtherRun
            };
        }
        runs.insert(run.task, new);
        if runs.len() == 1 {
            self.any.send_replace(true);
        }
        Added::New(cancelled)
    }

    /// Lets go of runs whose end is written.
    pub(crate) fn remove(&self, ended: impl IntoIterator<Item = Run>) {
        let mut runs = self.runs();
        for run in ended {
            if runs.get(&run.task).is_some_and(|held| held.number == run.number) {
                runs.remove(&run.task);
            }
        }
        if runs.is_empty() {
            self.any.send_replace(false);
        }
    }

    /// Everything that is held.
    pub(crate) fn all(&self) -> Vec<Run> {
        self.runs()
            .iter()
            .map(|(task, held)| Run {
                task: *task,
                number: held.number,
            })
            .collect()
    }

    /// Whether this worker holds the task.
    pub(crate) fn contains(&self, task: TaskId) -> bool {
        self.runs().contains_key(&task)
    }

    /// Whether it holds a task that has killed workers before.
    pub(crate) fn has_suspect(&self) -> bool {
        self.runs().values().any(|held| held.suspect)
    }

    /// Tells a run to stop, if it is held. Without a number, whichever run of the task that is.
    pub(crate) fn cancel(&self, task: TaskId, number: Option<i32>) {
        if let Some(held) = self.runs().get(&task)
            && number.is_none_or(|number| number == held.number)
        {
            held.cancelled.cancel();
        }
    }

    /// Notes that a claim is on its way, until the answer is dropped.
    pub(crate) fn claiming(&self) -> Claiming<'_> {
        let since = Instant::now();
        self.claims().push(since);
        Claiming { held: self, since }
    }

    /// Whether everything that was claimed before `moment` is held, has ended, or was given up.
    pub(crate) fn knows_claims_before(&self, moment: Instant) -> bool {
        self.claims().iter().all(|since| *since > moment)
    }

    /// How many runs are held.
    pub(crate) fn len(&self) -> usize {
        self.runs().len()
    }

    /// Waits until at least one run is held, or none.
    pub(crate) async fn until(&self, some: bool) {
        // the sender lives in this struct, so the channel cannot be closed
        let _ = self.any.subscribe().wait_for(|any| *any == some).await;
    }

    fn claims(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<TaskId, InFlightRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_held_once_and_an_earlier_run_of_it_cannot_remove_or_cancel_the_later_one() {
        let held = InFlight::default();
        let task = TaskId::generate();
        let Added::New(token) = held.add(Run { task, number: 2 }, false) else {
            panic!("it is not held yet");
        };
        assert!(matches!(
            held.add(Run { task, number: 3 }, false),
            Added::OtherRun
        ));
        assert!(matches!(held.add(Run { task, number: 2 }, false), Added::SameRun));
        held.remove([Run { task, number: 1 }]);
        held.cancel(task, Some(1));
        assert!(held.contains(task));
        assert!(!token.is_cancelled());
        held.cancel(task, None);
        assert!(token.is_cancelled());
    }

    #[test]
    fn a_claim_on_its_way_is_known_until_what_it_took_is_held() {
        let held = InFlight::default();
        let claim = held.claiming();
        assert!(!held.knows_claims_before(Instant::now()));
        drop(claim);
        assert!(held.knows_claims_before(Instant::now()));
        let before = Instant::now();
        let _later = held.claiming();
        assert!(held.knows_claims_before(before));
    }
}
