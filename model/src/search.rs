//! Searches that the invariant checker does not make: termination of every task, and reachability of states.

use std::collections::HashMap;

use stateright::Model;

use crate::config::Config;
use crate::state::{System, Task};

/// The result of [`always_terminates`].
#[derive(Debug)]
pub struct Termination {
    /// Number of reachable states.
    pub states: usize,
    /// A state from which, without further faults, some task may never finish; `None` if there is none.
    pub counterexample: Option<System>,
}

/// Checks that from every reachable state, without further faults, *every* order of events finishes all
/// tasks.
///
/// A state is good if all its tasks are finished, or if it has possible actions and all of them lead to good
/// states. So neither a stuck state nor a cycle is good. No fairness is assumed.
pub fn always_terminates(config: &Config) -> Termination {
    let mut graph = Graph::of(config);
    let mut next = 0;
    while next < graph.states.len() {
        let system = graph.states[next].clone();
        for faulty in config.next_states(&system) {
            graph.place(faulty);
        }
        let mut steps: Vec<usize> = config
            .steps(&system)
            .into_iter()
            .map(|to| graph.place(to))
            .collect();
        steps.sort_unstable();
        steps.dedup();
        graph.waits_for.push(steps.len());
        for to in steps {
            graph.comes_from[to].push(next);
        }
        next += 1;
    }
    let good = graph.good();
    let counterexample = good.iter().position(|good| !good);
    Termination {
        states: graph.states.len(),
        counterexample: counterexample.map(|place| graph.states[place].clone()),
    }
}

/// Returns true if some reachable state fulfils `like`. Guards against models without events, where every
/// invariant holds.
pub fn reaches(config: &Config, like: impl Fn(&System) -> bool) -> bool {
    let mut graph = Graph::of(config);
    let mut next = 0;
    while next < graph.states.len() {
        let system = graph.states[next].clone();
        if like(&system) {
            return true;
        }
        for state in config.next_states(&system) {
            graph.place(state);
        }
        next += 1;
    }
    false
}

#[derive(Default)]
struct Graph {
    places: HashMap<System, usize>,
    states: Vec<System>,
    /// The states from which an action leads here.
    comes_from: Vec<Vec<usize>>,
    /// Number of actions not yet known to lead to a good state.
    waits_for: Vec<usize>,
}

impl Graph {
    /// Returns a graph of the initial states.
    fn of(config: &Config) -> Self {
        let mut graph = Self::default();
        for initial in config.init_states() {
            graph.place(initial);
        }
        graph
    }

    fn place(&mut self, system: System) -> usize {
        if let Some(place) = self.places.get(&system) {
            return *place;
        }
        let place = self.states.len();
        self.places.insert(system.clone(), place);
        self.states.push(system);
        self.comes_from.push(Vec::new());
        place
    }

    /// Returns for each state whether it is good, computed backwards from the final states.
    fn good(&mut self) -> Vec<bool> {
        let mut good: Vec<bool> = self.states.iter().map(is_over).collect();
        let mut found: Vec<usize> = (0..good.len()).filter(|place| good[*place]).collect();
        while let Some(place) = found.pop() {
            for from in std::mem::take(&mut self.comes_from[place]) {
                self.waits_for[from] -= 1;
                if self.waits_for[from] == 0 && !good[from] {
                    good[from] = true;
                    found.push(from);
                }
            }
        }
        good
    }
}

/// Returns true if all tasks are finished.
fn is_over(system: &System) -> bool {
    system.tasks.iter().all(Task::is_over)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Row;

    #[test]
    fn neither_a_cycle_nor_a_stuck_state_always_terminates() {
        let mut graph = Graph::default();
        for number in 0..6 {
            let mut system = System::new(1, 0, 0, number);
            if number == 5 {
                system.tasks[0].finished.push(Row::NEW);
            }
            graph.place(system);
        }
        // 0 and 1 form a cycle with an exit; 2 is stuck; 3 may get stuck; 4 terminates
        graph.comes_from = vec![vec![1], vec![0], vec![3], vec![], vec![], vec![1, 3, 4]];
        graph.waits_for = vec![1, 2, 0, 2, 1, 0];
        assert_eq!(graph.good(), [false, false, false, false, true, true]);
    }
}
