//! The failure detector: decides which workers have vanished from the checks that the leader made in one
//! session. Pure.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tasker_store::liveness::{FleetCheck, WorkerCheck};

/// Minimum number of seconds between the two checks that must miss a worker.
const MISSED_FOR_SECONDS: f64 = 1.0;
/// Number of workers missing at once from which on, if they are also more than a third of those watched, the
/// cause is the network or Postgres rather than the workers. Their heartbeats decide then.
const GROUP_MIN: usize = 3;

/// The workers whose locks were seen held, each with the check that first missed it.
#[derive(Debug, Default)]
pub(crate) struct FailureDetector {
    workers: HashMap<String, Option<Missed>>,
}

/// The first check that missed a worker.
#[derive(Debug, Clone, Copy)]
struct Missed {
    at: f64,
    last_heartbeat: DateTime<Utc>,
}

/// The result of one liveness check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// These workers are dead, unless they have sent a heartbeat later than the given one.
    Vanished(Vec<(String, DateTime<Utc>)>),
    /// The number of workers that vanished together: too many to declare dead without their heartbeats.
    Group(usize),
}

impl FailureDetector {
    /// Returns the number of watched workers: those whose loss is noticed within two checks.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Adds one check; returns the verdict over all checks so far.
    pub(crate) fn judge(&mut self, check: &FleetCheck) -> Verdict {
        let before = std::mem::take(&mut self.workers);
        for worker in &check.workers {
            let known = before.get(&worker.id);
            // a lock that this session never saw held proves no death: a worker behind a pooler may have none
            if worker.holds_lock || known.is_some() {
                let missed = missed(worker, check.at, known.copied().flatten());
                self.workers.insert(worker.id.clone(), missed);
            }
        }
        let missing = self.workers.values().flatten().count();
        if missing >= GROUP_MIN && missing * 3 > self.workers.len() {
            // no longer watched until their locks are seen held again
            self.workers.retain(|_, missed| missed.is_none());
            return Verdict::Group(missing);
        }
        let vanished = self.workers.iter().filter_map(|(id, missed)| {
            let missed = (*missed)?;
            (check.at - missed.at >= MISSED_FOR_SECONDS).then(|| (id.clone(), missed.last_heartbeat))
        });
        Verdict::Vanished(vanished.collect())
    }
}

/// Returns the check that first missed the worker; `None` if its lock or a session of it is there.
fn missed(worker: &WorkerCheck, at: f64, before: Option<Missed>) -> Option<Missed> {
    if worker.holds_lock || worker.has_session {
        return None;
    }
    let last_heartbeat = worker.last_heartbeat;
    // a heartbeat since the first miss proves that it lived, so the count starts again
    let before = before.filter(|missed| missed.last_heartbeat == last_heartbeat);
    Some(before.unwrap_or(Missed { at, last_heartbeat }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: (bool, bool) = (true, true);
    const WITHOUT_LOCK: (bool, bool) = (false, true);
    const GONE: (bool, bool) = (false, false);

    /// Returns a check at second `at`: each worker by name, with the presence of its lock and of a session.
    fn check(at: f64, workers: &[(&str, (bool, bool))]) -> FleetCheck {
        let worker = |(id, (holds_lock, has_session)): &(&str, (bool, bool))| WorkerCheck {
            id: (*id).to_owned(),
            last_heartbeat: DateTime::UNIX_EPOCH,
            unresponsive: false,
            holds_lock: *holds_lock,
            has_session: *has_session,
        };
        FleetCheck {
            at,
            fleet_is_unhealthy: false,
            workers: workers.iter().map(worker).collect(),
        }
    }

    fn vanished(ids: &[&str]) -> Verdict {
        let dead = |id: &&str| ((*id).to_owned(), DateTime::UNIX_EPOCH);
        Verdict::Vanished(ids.iter().map(dead).collect())
    }

    #[test]
    fn a_worker_that_two_checks_a_second_apart_miss_is_dead() {
        let mut detector = FailureDetector::default();
        assert_eq!(detector.judge(&check(0.0, &[("w", THERE)])), vanished(&[]));
        assert_eq!(detector.judge(&check(1.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(
            detector.judge(&check(1.5, &[("w", GONE)])),
            vanished(&[]),
            "too soon"
        );
        assert_eq!(detector.judge(&check(2.0, &[("w", GONE)])), vanished(&["w"]));
    }

    #[test]
    fn a_worker_whose_lock_was_never_seen_is_not_judged_by_it() {
        let mut detector = FailureDetector::default();
        for at in [0.0, 1.0, 2.0, 3.0] {
            assert_eq!(detector.judge(&check(at, &[("w", GONE)])), vanished(&[]));
        }
        assert_eq!(detector.judge(&check(4.0, &[("w", WITHOUT_LOCK)])), vanished(&[]));
        assert_eq!(detector.judge(&check(5.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(detector.judge(&check(6.0, &[("w", GONE)])), vanished(&[]));
    }

    #[test]
    fn a_worker_with_a_session_left_lives_without_its_lock() {
        let mut detector = FailureDetector::default();
        detector.judge(&check(0.0, &[("w", THERE)]));
        for at in [1.0, 2.0, 3.0] {
            assert_eq!(detector.judge(&check(at, &[("w", WITHOUT_LOCK)])), vanished(&[]));
        }
        assert_eq!(detector.judge(&check(4.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(detector.judge(&check(5.0, &[("w", GONE)])), vanished(&["w"]));
    }

    #[test]
    fn a_worker_that_comes_back_between_two_checks_has_to_be_missed_twice_again() {
        let mut detector = FailureDetector::default();
        detector.judge(&check(0.0, &[("w", THERE)]));
        detector.judge(&check(1.0, &[("w", GONE)]));
        detector.judge(&check(2.0, &[("w", THERE)]));
        assert_eq!(detector.judge(&check(3.0, &[("w", GONE)])), vanished(&[]));
    }

    #[test]
    fn a_heartbeat_after_the_first_miss_proves_that_the_worker_lives() {
        let mut detector = FailureDetector::default();
        detector.judge(&check(0.0, &[("w", THERE)]));
        detector.judge(&check(1.0, &[("w", GONE)]));
        let mut beaten = check(2.0, &[("w", GONE)]);
        beaten.workers[0].last_heartbeat += chrono::TimeDelta::seconds(1);
        assert_eq!(detector.judge(&beaten), vanished(&[]));
    }

    #[test]
    fn three_of_eight_that_vanish_together_are_left_to_their_heartbeats() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let all = |gone: usize| -> Vec<_> {
            let state = |i| if i < gone { GONE } else { THERE };
            names
                .iter()
                .enumerate()
                .map(|(i, name)| (*name, state(i)))
                .collect()
        };
        let mut detector = FailureDetector::default();
        detector.judge(&check(0.0, &all(0)));
        // the third is missed a check later than the others, before they are judged
        assert_eq!(detector.judge(&check(1.0, &all(2))), vanished(&[]));
        assert_eq!(detector.judge(&check(2.0, &all(3))), Verdict::Group(3));
        for at in [3.0, 4.0, 5.0] {
            assert_eq!(detector.judge(&check(at, &all(3))), vanished(&[]));
        }
        detector.judge(&check(6.0, &all(0)));
        assert_eq!(detector.judge(&check(7.0, &all(1))), vanished(&[]));
        assert_eq!(detector.judge(&check(8.0, &all(1))), vanished(&["a"]));
    }

    #[test]
    fn three_of_nine_are_no_group() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let all = |gone: usize| -> Vec<_> {
            let state = |i| if i < gone { GONE } else { THERE };
            names
                .iter()
                .enumerate()
                .map(|(i, name)| (*name, state(i)))
                .collect()
        };
        let mut detector = FailureDetector::default();
        detector.judge(&check(0.0, &all(0)));
        detector.judge(&check(1.0, &all(3)));
        let Verdict::Vanished(mut dead) = detector.judge(&check(2.0, &all(3))) else {
            panic!("no group")
        };
        dead.sort();
        assert_eq!(Verdict::Vanished(dead), vanished(&["a", "b", "c"]));
    }

    #[test]
    fn a_worker_that_left_is_forgotten() {
        let mut detector = FailureDetector::default();
        detector.judge(&check(0.0, &[("w", THERE)]));
        detector.judge(&check(1.0, &[]));
        assert_eq!(detector.judge(&check(2.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(detector.judge(&check(3.0, &[("w", GONE)])), vanished(&[]));
    }
}
