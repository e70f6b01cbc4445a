//! Which workers have vanished, judged by what the leader saw in one session of its own. Pure.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tasker_shared::store::liveness::{FleetCheck, WorkerCheck};

/// Seconds between the two looks that must miss a worker.
const MISSED_FOR_SECONDS: f64 = 1.0;
/// So many workers that vanish together, when they are also more than a third of those watched, did not die one by one: the
/// network or Postgres is at fault, and heartbeats decide.
const GROUP: usize = 3;

/// The workers whose locks were seen held, and which of them are missed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    workers: HashMap<String, Option<Missed>>,
}

/// The first look that missed a worker.
#[derive(Debug, Clone, Copy)]
struct Missed {
    at: f64,
    last_heartbeat: DateTime<Utc>,
}

/// What a look means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// These workers are dead, unless they have sent a heartbeat since the one named.
    Vanished(Vec<(String, DateTime<Utc>)>),
    /// So many vanished together that heartbeats have to decide.
    Group(usize),
}

impl Watch {
    /// How many workers are watched: those whose loss would be noticed at once.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Takes in one look and judges by all of them.
    pub(crate) fn judge(&mut self, look: &FleetCheck) -> Verdict {
        let before = std::mem::take(&mut self.workers);
        for worker in &look.workers {
            let known = before.get(&worker.id);
            if worker.holds_lock || known.is_some() {
                let missed = missed(worker, look.at, known.copied().flatten());
                self.workers.insert(worker.id.clone(), missed);
            }
        }
        let missing = self.workers.values().flatten().count();
        if missing >= GROUP && missing * 3 > self.workers.len() {
            // their locks have to be seen again before anything is made of their loss
            self.workers.retain(|_, missed| missed.is_none());
            return Verdict::Group(missing);
        }
        let vanished = self.workers.iter().filter_map(|(id, missed)| {
            let missed = (*missed)?;
            (look.at - missed.at >= MISSED_FOR_SECONDS).then(|| (id.clone(), missed.last_heartbeat))
        });
        Verdict::Vanished(vanished.collect())
    }
}

/// Since when a worker is missed, if it is.
fn missed(worker: &WorkerCheck, at: f64, before: Option<Missed>) -> Option<Missed> {
    if worker.holds_lock || worker.has_session {
        return None;
    }
    let last_heartbeat = worker.last_heartbeat;
    // one that has sent a heartbeat meanwhile was there
    let before = before.filter(|missed| missed.last_heartbeat == last_heartbeat);
    Some(before.unwrap_or(Missed { at, last_heartbeat }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: (bool, bool) = (true, true);
    const WITHOUT_LOCK: (bool, bool) = (false, true);
    const GONE: (bool, bool) = (false, false);

    /// A look at second `at`: each worker by name, and whether its lock and a session of it were seen.
    fn look(at: f64, workers: &[(&str, (bool, bool))]) -> FleetCheck {
        let sighting = |(id, (holds_lock, has_session)): &(&str, (bool, bool))| WorkerCheck {
            id: (*id).to_owned(),
            last_heartbeat: DateTime::UNIX_EPOCH,
            unresponsive: false,
            holds_lock: *holds_lock,
            has_session: *has_session,
        };
        FleetCheck {
            at,
            fleet_is_unhealthy: false,
            workers: workers.iter().map(sighting).collect(),
        }
    }

    fn vanished(ids: &[&str]) -> Verdict {
        let dead = |id: &&str| ((*id).to_owned(), DateTime::UNIX_EPOCH);
        Verdict::Vanished(ids.iter().map(dead).collect())
    }

    #[test]
    fn a_worker_that_two_looks_a_second_apart_miss_is_dead() {
        let mut watch = Watch::default();
        assert_eq!(watch.judge(&look(0.0, &[("w", THERE)])), vanished(&[]));
        assert_eq!(watch.judge(&look(1.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(watch.judge(&look(1.5, &[("w", GONE)])), vanished(&[]), "too soon");
        assert_eq!(watch.judge(&look(2.0, &[("w", GONE)])), vanished(&["w"]));
    }

    #[test]
    fn a_worker_whose_lock_was_never_seen_is_not_judged_by_it() {
        let mut watch = Watch::default();
        for at in [0.0, 1.0, 2.0, 3.0] {
            assert_eq!(watch.judge(&look(at, &[("w", GONE)])), vanished(&[]));
        }
        assert_eq!(watch.judge(&look(4.0, &[("w", WITHOUT_LOCK)])), vanished(&[]));
        assert_eq!(watch.judge(&look(5.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(watch.judge(&look(6.0, &[("w", GONE)])), vanished(&[]));
    }

    #[test]
    fn a_worker_with_a_session_left_lives_without_its_lock() {
        let mut watch = Watch::default();
        watch.judge(&look(0.0, &[("w", THERE)]));
        for at in [1.0, 2.0, 3.0] {
            assert_eq!(watch.judge(&look(at, &[("w", WITHOUT_LOCK)])), vanished(&[]));
        }
        assert_eq!(watch.judge(&look(4.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(watch.judge(&look(5.0, &[("w", GONE)])), vanished(&["w"]));
    }

    #[test]
    fn a_worker_that_comes_back_between_two_looks_has_to_be_missed_twice_again() {
        let mut watch = Watch::default();
        watch.judge(&look(0.0, &[("w", THERE)]));
        watch.judge(&look(1.0, &[("w", GONE)]));
        watch.judge(&look(2.0, &[("w", THERE)]));
        assert_eq!(watch.judge(&look(3.0, &[("w", GONE)])), vanished(&[]));
    }

    #[test]
    fn a_heartbeat_after_the_first_miss_is_a_sign_of_life() {
        let mut watch = Watch::default();
        watch.judge(&look(0.0, &[("w", THERE)]));
        watch.judge(&look(1.0, &[("w", GONE)]));
        let mut beaten = look(2.0, &[("w", GONE)]);
        beaten.workers[0].last_heartbeat += chrono::TimeDelta::seconds(1);
        assert_eq!(watch.judge(&beaten), vanished(&[]));
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
        let mut watch = Watch::default();
        watch.judge(&look(0.0, &all(0)));
        // the third is missed a look later than the others, before they are judged
        assert_eq!(watch.judge(&look(1.0, &all(2))), vanished(&[]));
        assert_eq!(watch.judge(&look(2.0, &all(3))), Verdict::Group(3));
        for at in [3.0, 4.0, 5.0] {
            assert_eq!(watch.judge(&look(at, &all(3))), vanished(&[]));
        }
        watch.judge(&look(6.0, &all(0)));
        assert_eq!(watch.judge(&look(7.0, &all(1))), vanished(&[]));
        assert_eq!(watch.judge(&look(8.0, &all(1))), vanished(&["a"]));
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
        let mut watch = Watch::default();
        watch.judge(&look(0.0, &all(0)));
        watch.judge(&look(1.0, &all(3)));
        let Verdict::Vanished(mut dead) = watch.judge(&look(2.0, &all(3))) else {
            panic!("no group")
        };
        dead.sort();
        assert_eq!(Verdict::Vanished(dead), vanished(&["a", "b", "c"]));
    }

    #[test]
    fn a_worker_that_left_is_forgotten() {
        let mut watch = Watch::default();
        watch.judge(&look(0.0, &[("w", THERE)]));
        watch.judge(&look(1.0, &[]));
        assert_eq!(watch.judge(&look(2.0, &[("w", GONE)])), vanished(&[]));
        assert_eq!(watch.judge(&look(3.0, &[("w", GONE)])), vanished(&[]));
    }
}
