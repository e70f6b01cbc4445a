//! The search: every state that any order of events leads to, and whether each is sure to settle in a right state.

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
    /// A counterexample, if there is one; a shortest one unless it is a circle.
    pub counterexample: Option<Counterexample>,
}

/// Events that lead to a wrong state.
#[derive(Debug)]
pub struct Counterexample {
    /// What is wrong.
    pub wrong: Wrong,
    /// The events. Those of a circle end where it closes.
    pub events: Vec<Action>,
    /// The last state.
    pub last: System,
}

/// Searches every state and every order of events.
///
/// From each reachable state, once no more faults are injected, every order of events must end in a state in which
/// nothing more happens and nothing is wrong. No fairness is assumed: a circle that can be gone round for ever is
/// wrong too.
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
        None => graph.circle(config),
    };
    Outcome {
        states: graph.states.len(),
        counterexample,
    }
}

/// Returns whether some reachable state fulfils a condition.
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
    /// The state from which each was found first, and by which event.
    found_from: Vec<Option<(usize, Action)>>,
    /// Where events that are not faults lead.
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

    /// Adds the states after one; returns what is wrong with it.
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

    fn counterexample(&self, wrong: Wrong, place: usize, circle: Vec<Action>) -> Counterexample {
        let mut events = Vec::new();
        let mut at = place;
        while let Some((from, action)) = self.found_from[at] {
            events.push(action);
            at = from;
        }
        events.reverse();
        events.extend(circle);
        let last = self.states[place];
        Counterexample { wrong, events, last }
    }

    /// Returns a circle of events that are not faults.
    fn circle(&self, config: &Config) -> Option<Counterexample> {
        let good = self.good();
        let mut at = good.iter().position(|good| !good)?;
        let mut path = Vec::new();
        while !path.contains(&at) {
            path.push(at);
            at = *self.leads_to[at].iter().find(|to| !good[**to])?;
        }
        let start = path.iter().position(|place| *place == at)?;
        path.push(at);
        let circle = path[start..].windows(2);
        let circle = circle.filter_map(|pair| self.event(config, pair[0], pair[1]));
        Some(self.counterexample(Wrong::Circle, at, circle.collect()))
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

    /// Returns which states are sure to settle, from the settled ones backwards.
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
