//! In-flight runs: those of this worker, from the answer of the claim until the write of the completion is
//! confirmed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tasker_core::task::{Run, TaskId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The in-flight runs by task: a worker has at most one run of a task in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    runs: Mutex<HashMap<TaskId, InFlightRun>>,
    /// True if there are any. Changed under the lock of `runs`, and only from none to some and back: each
    /// change wakes tasks.
    any: watch::Sender<bool>,
    /// The start of each pending claim. There are a few at most.
    claims: Mutex<Vec<Instant>>,
    /// Held by the one pending claim that may take a suspect.
    suspect_turn: tokio::sync::Mutex<()>,
}

/// A pending claim: from before it is sent until its runs are in flight.
#[derive(Debug)]
pub(crate) struct Claiming<'a> {
    in_flight: &'a InFlight,
    since: Instant,
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        let mut claims = self.in_flight.claims();
        // two claims of the same instant are interchangeable
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

/// The result of adding a claimed run.
#[derive(Debug)]
pub(crate) enum Added {
    /// The run is to be started; the token is cancelled when its task is cancelled.
    New(CancellationToken),
    /// This run is in flight already: Postgres lost its claim in a crash (claims commit asynchronously), and
    /// it was claimed again with the same number.
    SameRun,
    /// An earlier run of the task is still in flight here.
    OtherRun,
}

impl Default for InFlight {
    fn default() -> Self {
        Self {
            runs: Mutex::default(),
            any: watch::Sender::new(false),
            claims: Mutex::default(),
            suspect_turn: tokio::sync::Mutex::default(),
        }
    }
}

impl InFlight {
    /// Adds a run, unless a run of its task is in flight.
    pub(crate) fn add(&self, run: Run, suspect: bool) -> Added {
        let cancelled = CancellationToken::new();
        let new = InFlightRun {
            number: run.number,
            suspect,
            cancelled: cancelled.clone(),
        };
        let mut runs = self.runs();
        if let Some(other) = runs.get(&run.task) {
            return if other.number == run.number {
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

    /// Removes runs whose completions are written.
    pub(crate) fn remove(&self, ended: impl IntoIterator<Item = Run>) {
        let mut runs = self.runs();
        // by number: the completion of an earlier run must not remove a later one of the same task
        for run in ended {
            if runs
                .get(&run.task)
                .is_some_and(|other| other.number == run.number)
            {
                runs.remove(&run.task);
            }
        }
        if runs.is_empty() {
            self.any.send_replace(false);
        }
    }

    /// Returns all in-flight runs.
    pub(crate) fn all(&self) -> Vec<Run> {
        self.runs()
            .iter()
            .map(|(task, run)| Run {
                task: *task,
                number: run.number,
            })
            .collect()
    }

    /// Returns true if a run of the task is in flight.
    pub(crate) fn contains(&self, task: TaskId) -> bool {
        self.runs().contains_key(&task)
    }

    /// Returns true if a run of a suspect is in flight: a task that has crashed workers before.
    pub(crate) fn has_suspect(&self) -> bool {
        self.runs().values().any(|other| other.suspect)
    }

    /// Cancels a run, if it is in flight. Without a number, any run of the task.
    pub(crate) fn cancel(&self, task: TaskId, number: Option<i32>) {
        if let Some(run) = self.runs().get(&task)
            && number.is_none_or(|number| number == run.number)
        {
            run.cancelled.cancel();
        }
    }

    /// Returns the turn of the one pending claim that may take a suspect; `None` if another claim has it.
    pub(crate) fn suspect_turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.suspect_turn.try_lock().ok()
    }

    /// Records a pending claim until the returned guard is dropped.
    pub(crate) fn claiming(&self) -> Claiming<'_> {
        let since = Instant::now();
        self.claims().push(since);
        Claiming {
            in_flight: self,
            since,
        }
    }

    /// Returns true if no claim that began by `moment` is pending: its runs are in flight, have ended, or are
    /// lost.
    pub(crate) fn knows_claims_before(&self, moment: Instant) -> bool {
        self.claims().iter().all(|since| *since > moment)
    }

    /// Returns the number of in-flight runs.
    pub(crate) fn len(&self) -> usize {
        self.runs().len()
    }

    /// Waits until at least one run is in flight if `some`, else until none is.
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
    fn a_task_is_in_flight_once_and_an_earlier_run_of_it_cannot_remove_or_cancel_the_later_one() {
        let in_flight = InFlight::default();
        let task = TaskId::generate();
        let Added::New(token) = in_flight.add(Run { task, number: 2 }, false) else {
            panic!("it is not in flight yet");
        };
        assert!(matches!(
            in_flight.add(Run { task, number: 3 }, false),
            Added::OtherRun
        ));
        assert!(matches!(
            in_flight.add(Run { task, number: 2 }, false),
            Added::SameRun
        ));
        in_flight.remove([Run { task, number: 1 }]);
        in_flight.cancel(task, Some(1));
        assert!(in_flight.contains(task));
        assert!(!token.is_cancelled());
        in_flight.cancel(task, None);
        assert!(token.is_cancelled());
    }

    #[test]
    fn a_pending_claim_is_known_until_its_runs_are_in_flight() {
        let in_flight = InFlight::default();
        let claim = in_flight.claiming();
        assert!(!in_flight.knows_claims_before(Instant::now()));
        drop(claim);
        assert!(in_flight.knows_claims_before(Instant::now()));
        let before = Instant::now();
        let _later = in_flight.claiming();
        assert!(in_flight.knows_claims_before(before));
    }
}
