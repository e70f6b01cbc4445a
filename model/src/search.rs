//! Searches that a checker of invariants does not make: whether every task is *sure* to end, and whether the model can do
//! what it is meant to show.

use std::collections::HashMap;

use stateright::Model;

use crate::config::Config;
use crate::state::{System, Task};

/// What [`sure_to_end`] looked at.
#[derive(Debug)]
pub struct Ends {
    /// Reachable states.
    pub states: usize,
    /// One from which faults need not strike again for some task never to end, if there is any.
    pub endless: Option<System>,
}

/// Whether from every reachable state, once no more faults strike, *every* order of events leads to the end of all tasks.
///
/// A state is good if all tasks are over in it, or if something goes on and leads to good states only. Both a state in which
/// nothing goes on and a circle of states that can be gone round for ever are thus not good. No fairness is assumed.
pub fn sure_to_end(config: &Config) -> Ends {
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
    let endless = good.iter().position(|good| !good);
    Ends {
        states: graph.states.len(),
        endless: endless.map(|place| graph.states[place].clone()),
    }
}

/// Whether some reachable state is like this: a model in which nothing happens keeps every promise.
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
    /// From where a step leads here.
    comes_from: Vec<Vec<usize>>,
    /// Steps that do not yet lead to a good state.
    waits_for: Vec<usize>,
}

impl Graph {
    /// The initial states of a search.
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

    /// Which states are good: from the ends backwards.
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

/// Whether all tasks are over.
fn is_over(system: &System) -> bool {
    system.tasks.iter().all(Task::is_over)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Row;

    #[test]
    fn neither_a_circle_nor_a_state_at_rest_is_sure_to_end() {
        let mut graph = Graph::default();
        for number in 0..6 {
            let mut system = System::new(1, 0, 0, number);
            if number == 5 {
                system.tasks[0].finished.push(Row::NEW);
            }
            graph.place(system);
        }
        // 0 and 1 go round and may leave; 2 rests; 3 may come to rest; 4 ends
        graph.comes_from = vec![vec![1], vec![0], vec![3], vec![], vec![], vec![1, 3, 4]];
        graph.waits_for = vec![1, 2, 0, 2, 1, 0];
        assert_eq!(graph.good(), [false, false, false, false, true, true]);
    }
}
