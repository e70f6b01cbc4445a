//! What must hold once faults have ceased and nothing more happens.

use super::config::Config;
use super::state::{Flag, System, TaskNo, len};

/// A way in which a state is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A pending row waits although a live worker registers its type and has a free slot.
    Waits,
    /// The length of the main list is not the number of pending rows that are not parked.
    Depth,
    /// The queue is split, and its type lists do not hold as many ids as the main list.
    TypeLists,
    /// A parked id is repeated, or not pending, or a live worker registers its type, or there is no live worker.
    Parked,
    /// A row of a type without a worker waits in a list of a queue whose workers have free slots.
    NotParked,
    /// The flag does not suit the fleet.
    Flag,
    /// Events go round in a circle without a fault: a hint that is handed back for ever, or duties that undo each other.
    Circle,
    /// A worker claimed an id more than twice that another must run.
    Spin,
}

impl Config {
    /// Returns what is wrong with a state in which nothing more happens, if anything is.
    pub fn wrong_when_settled(&self, system: &System) -> Option<Wrong> {
        let tasks = || 0..self.tasks.len();
        let parked = len(&system.parked);
        let types = self.types(system);
        let free = |task: TaskNo| {
            self.live(system)
                .any(|worker| system.workers[worker].slots > 0 && self.knows(worker, task))
        };
        let free_worker = self.live(system).any(|worker| system.workers[worker].slots > 0);
        let misplaced = |task: TaskNo| {
            let copies = system.parked[task];
            copies > 0 && (copies > 1 || !system.is_pending(task) || !self.is_unroutable(system, task))
        };
        let unroutable = |task: TaskNo| system.is_pending(task) && self.is_unroutable(system, task);
        let finds = |wrong: bool, what: Wrong| wrong.then_some(what);
        finds(
            tasks().any(|task| system.is_pending(task) && free(task)),
            Wrong::Waits,
        )
        .or_else(|| finds(tasks().any(misplaced), Wrong::Parked))
        .or_else(|| finds(len(&system.main) != system.pending() - parked, Wrong::Depth))
        .or_else(|| {
            let differs = len(&system.typed) != len(&system.main);
            finds(system.flag.is_split() && differs, Wrong::TypeLists)
        })
        .or_else(|| {
            let waits = |task| unroutable(task) && system.parked[task] == 0;
            finds(
                types != 0 && (free_worker || system.flag.is_split()) && tasks().any(waits),
                Wrong::NotParked,
            )
        })
        .or_else(|| {
            let suits = match system.flag {
                Flag::Absent => !self.is_mixed(system),
                Flag::Split => self.is_mixed(system),
                Flag::Opening | Flag::Closing => false,
            };
            finds(!suits, Wrong::Flag)
        })
    }

    /// Returns what is wrong with a state whatever else happens.
    pub(crate) fn wrong_always(system: &System) -> Option<Wrong> {
        let spins = |worker: &super::state::Worker| worker.misrouted.iter().any(|count| *count > 2);
        system.workers.iter().any(spins).then_some(Wrong::Spin)
    }
}
