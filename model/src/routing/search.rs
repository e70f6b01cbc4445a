//! The search through every state that any order of events reaches, with a check that each settles in a
//! correct state.

use std::collections::HashMap;

use super::actions::{Action, steps};
use super::config::Config;
use super::faults::faults;
use super::settled::Wrong;
use super::state::System;

/// The result of a search.
#[derive(Debug)]
pub struct Outcome {
    /// The number of states found.
    pub states: usize,
    /// A counterexample, if there is one; a shortest one unless it is a cycle.
    pub counterexample: Option<Counterexample>,
}

/// Events that lead to a wrong state.
#[derive(Debug)]
pub struct Counterexample {
    /// The violation.
    pub wrong: Wrong,
    /// The events. Those of a cycle end where it closes.
    pub events: Vec<Action>,
    /// The last state.
    pub last: System,
}

/// Searches every state and every order of events.
///
/// From each reachable state, without further faults, every order of events must end in a settled state
/// without a violation. No fairness is assumed: a cycle is a violation too.
pub fn search(config: &Config) -> Outcome {
    let mut graph = Graph::default();
    graph.place(config.initial(), None);
    let mut wrong = None;
    let mut next = 0;
    while next < graph.states.len() && wrong.is_none() {
        wrong = graph.expand(config, next).map(|wrong| (wrong, next));
        next += 1;
    }
    let counterexample = match wrong {
        Some((wrong, place)) => Some(graph.counterexample(wrong, place, Vec::new())),
        None => graph.cycle(config),
    };
    Outcome {
        states: graph.states.len(),
        counterexample,
    }
}

/// Returns true if some reachable state fulfils a condition.
pub fn reaches(config: &Config, condition: impl Fn(&System) -> bool) -> bool {
    let mut graph = Graph::default();
    graph.place(config.initial(), None);
    let mut next = 0;
    while next < graph.states.len() {
        if condition(&graph.states[next]) {
            return true;
        }
        graph.expand(config, next);
        next += 1;
    }
    false
}

#[derive(Default)]
struct Graph {
    places: HashMap<System, usize>,
    states: Vec<System>,
    /// The state and the event by which each was found first.
    found_from: Vec<Option<(usize, Action)>>,
    /// The states after each event that is not a fault.
    leads_to: Vec<Vec<usize>>,
}

impl Graph {
    fn place(&mut self, system: System, from: Option<(usize, Action)>) -> usize {
        let place = self.states.len();
        let known = *self.places.entry(system).or_insert(place);
        if known == place {
            self.states.push(system);
            self.found_from.push(from);
            self.leads_to.push(Vec::new());
        }
        known
    }

    /// Adds the successors of a state; returns its violation, if any.
    fn expand(&mut self, config: &Config, place: usize) -> Option<Wrong> {
        let system = self.states[place];
        let mut events = Vec::new();
        steps(config, &system, &mut |action| events.push(action));
        let count = events.len();
        faults(config, &system, &mut |action| events.push(action));
        for (number, action) in events.into_iter().enumerate() {
            config.after(&system, action, &mut |next| {
                if next == system {
                    return;
                }
                let to = self.place(next, Some((place, action)));
                if number < count {
                    self.leads_to[place].push(to);
                }
            });
        }
        let settled = self.leads_to[place].is_empty();
        let wrong = settled.then(|| config.wrong_when_settled(&system)).flatten();
        wrong.or_else(|| Config::wrong_always(&system))
    }

    fn counterexample(&self, wrong: Wrong, place: usize, cycle: Vec<Action>) -> Counterexample {
        let mut events = Vec::new();
        let mut at = place;
        while let Some((from, action)) = self.found_from[at] {
            events.push(action);
            at = from;
        }
        events.reverse();
        events.extend(cycle);
        let last = self.states[place];
        Counterexample { wrong, events, last }
    }

    /// Returns a cycle of events that are not faults.
    fn cycle(&self, config: &Config) -> Option<Counterexample> {
        let good = self.good();
        let mut at = good.iter().position(|good| !good)?;
        let mut path = Vec::new();
        while !path.contains(&at) {
            path.push(at);
            at = *self.leads_to[at].iter().find(|to| !good[**to])?;
        }
        let start = path.iter().position(|place| *place == at)?;
        path.push(at);
        let cycle = path[start..].windows(2);
        let cycle = cycle.filter_map(|pair| self.event(config, pair[0], pair[1]));
        Some(self.counterexample(Wrong::Cycle, at, cycle.collect()))
    }

    fn event(&self, config: &Config, from: usize, to: usize) -> Option<Action> {
        let mut found = None;
        steps(config, &self.states[from], &mut |action| {
            config.after(&self.states[from], action, &mut |next| {
                if next == self.states[to] {
                    found = Some(action);
                }
            });
        });
        found
    }

    /// Returns for each state whether it always settles, computed backwards from the settled ones.
    fn good(&self) -> Vec<bool> {
        let mut comes_from = vec![Vec::new(); self.states.len()];
        let mut waits_for = vec![0_usize; self.states.len()];
        for (from, next) in self.leads_to.iter().enumerate() {
            waits_for[from] = next.len();
            for to in next {
                comes_from[*to].push(from);
            }
        }
        let mut good: Vec<bool> = waits_for.iter().map(|count| *count == 0).collect();
        let mut found: Vec<usize> = (0..good.len()).filter(|place| good[*place]).collect();
        while let Some(place) = found.pop() {
            for from in std::mem::take(&mut comes_from[place]) {
                waits_for[from] -= 1;
                if waits_for[from] == 0 {
                    good[from] = true;
                    found.push(from);
                }
            }
        }
        good
    }
}
