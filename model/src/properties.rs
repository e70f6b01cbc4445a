//! The invariants of the protocol, which hold under any injected faults.

use stateright::{Model, Property};

use crate::actions::{self, Action};
use crate::config::Config;
use crate::fault::Fault;
use crate::state::{Row, Status, System, Task};
use crate::statements::Step;

/// A task has at most one visible completion.
pub const COMPLETED_ONCE: &str = "no task is completed twice";
/// A task in `finished_tasks` is not in `tasks`.
pub const IN_ONE_TABLE: &str = "a completed task is in no other state";
/// An acknowledged task has a row.
pub const NEVER_LOST: &str = "an acknowledged task is in one of the tables";
/// The counters of a row add up to its number of runs.
pub const ACCOUNTED: &str = "every run is accounted for";
/// A write about one run never ends another.
pub const OWN_RUN: &str = "a worker's write ends its own run only";
/// Recovery and reclaims do not take runs from live workers.
pub const LIVE_RUNS_KEPT: &str = "no run is taken from a live worker";
/// A crash is attributed to a task at most once.
pub const CRASH_COUNTED_ONCE: &str = "a worker's death counts once in the crash count of a task";
/// No task is stuck.
pub const ALL_OVER: &str = "when nothing more happens, every task is over";

impl Model for Config {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        vec![System::new(
            self.tasks,
            self.processes,
            self.leaders,
            self.fault_count,
        )]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        actions::all(self, system, actions);
    }

    fn next_state(&self, system: &System, action: Action) -> Option<System> {
        let mut next = system.clone();
        Step {
            config: self,
            now: &mut next,
        }
        .take(action);
        (next != *system).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(COMPLETED_ONCE, |_, system| {
                every(system, |task| task.finished.len() <= 1 && task.completions <= 1)
            }),
            Property::always(IN_ONE_TABLE, |_, system| every(system, is_in_one_table)),
            Property::always(NEVER_LOST, |_, system| {
                every(system, |task| {
                    !task.acknowledged || task.row.is_some() || !task.finished.is_empty()
                })
            }),
            Property::always(ACCOUNTED, |_, system| {
                every(system, |task| {
                    task.row.iter().chain(&task.finished).all(is_accounted)
                })
            }),
            Property::always(OWN_RUN, |_, system: &System| !system.violations.another_run_ended),
            Property::always(ALL_OVER, |config: &Self, system| {
                system.tasks.iter().all(Task::is_over) || config.goes_on(system)
            }),
        ];
        // these faults are violations of these properties by definition
        if !self.faults.contains(&Fault::Haste) {
            properties.push(Property::always(LIVE_RUNS_KEPT, |_, system: &System| {
                !system.violations.taken_from_live_worker
            }));
        }
        if !self.faults.contains(&Fault::OldSnapshot) {
            properties.push(Property::always(CRASH_COUNTED_ONCE, |_, system: &System| {
                let deaths: u32 = system.processes.iter().map(|found| found.dead.count_ones()).sum();
                every(system, |task| {
                    task.row
                        .iter()
                        .chain(&task.finished)
                        .all(|row| u32::from(row.crash_count) <= deaths)
                })
            }));
        }
        properties
    }
}

impl Config {
    /// Returns the states after each possible action except faults.
    pub fn steps(&self, system: &System) -> Vec<System> {
        let mut actions = Vec::new();
        actions::steps(self, system, &mut actions);
        actions
            .into_iter()
            .filter_map(|action| self.next_state(system, action))
            .collect()
    }

    fn goes_on(&self, system: &System) -> bool {
        let mut actions = Vec::new();
        actions::steps(self, system, &mut actions);
        actions
            .into_iter()
            .any(|action| self.next_state(system, action).is_some())
    }
}

fn every(system: &System, holds: impl Fn(&Task) -> bool) -> bool {
    system.tasks.iter().all(holds)
}

fn is_in_one_table(task: &Task) -> bool {
    let alive =
        |row: Row| row.status != Status::Completed && (row.status == Status::Running) == row.worker.is_some();
    task.row.is_none_or(|row| task.finished.is_empty() && alive(row))
        && task.finished.iter().all(|row| row.status == Status::Completed)
}

fn is_accounted(row: &Row) -> bool {
    let runs_now = u8::from(row.status == Status::Running);
    row.runs == row.attempts + row.crash_count + row.returned + runs_now
}
