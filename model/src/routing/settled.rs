//! The invariants of settled states: no more faults, and no more possible events.

use super::config::Config;
use super::state::{Flag, List, System, TaskNo, WorkerNo, len};

/// Maximum number of copies of an id in a list that the injected faults can explain.
const COPIES: u8 = 15;

/// A way in which a state is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A pending row waits although a live worker registers its type and has a free slot.
    Waits,
    /// The length of the main list is not the number of pending rows that are not parked.
    Depth,
    /// The queue is split, and its type lists do not hold as many ids as the main list.
    TypeLists,
    /// A parked id is repeated, or not pending, or a live worker registers its type, or no worker is live.
    Parked,
    /// A row of a type without a worker waits in a list of a queue whose workers have free slots.
    NotParked,
    /// The state of the queue does not match the fleet.
    Flag,
    /// Events repeat in a cycle without a fault: a hint that is returned for ever, or duties that undo each
    /// other. A worker that returns the same id is excused while a leader has a step to take.
    Cycle,
    /// The number of copies of an id in a list is unbounded.
    Grows,
}

impl Config {
    /// Returns the violation of a settled state, `None` if it is correct.
    ///
    /// Without comparisons lengths are not checked, since to correct them is their purpose; without a leader
    /// only that no task waits.
    pub fn wrong_when_settled(&self, system: &System) -> Option<Wrong> {
        let checks = [
            (Wrong::Waits, self.waits(system)),
            (Wrong::Flag, !self.flag_suits(system)),
            (Wrong::Parked, self.misplaces(system)),
            (Wrong::NotParked, self.leaves_unparked(system)),
            (
                Wrong::Depth,
                len(&system.main) + len(&system.parked) != system.pending(),
            ),
            (
                Wrong::TypeLists,
                system.flag.is_split() && len(&system.typed) != len(&system.main),
            ),
        ];
        let checked = match (self.leaders, self.safeguards.comparisons) {
            (0, _) => 1,
            (_, false) => 4,
            (_, true) => checks.len(),
        };
        checks[..checked]
            .iter()
            .find_map(|(wrong, found)| found.then_some(*wrong))
    }

    fn waits(&self, system: &System) -> bool {
        let served = |task: TaskNo| self.free(system).any(|worker| self.knows(worker, task));
        (0..self.tasks.len()).any(|task| system.is_pending(task) && served(task))
    }

    fn flag_suits(&self, system: &System) -> bool {
        match system.flag {
            Flag::Absent => !self.is_mixed(system),
            Flag::Split => self.is_mixed(system),
            Flag::Opening | Flag::Closing => false,
        }
    }

    fn misplaces(&self, system: &System) -> bool {
        (0..self.tasks.len()).any(|task| {
            let belongs = system.is_pending(task) && self.is_unroutable(system, task);
            system.parked[task] > u8::from(belongs)
        })
    }

    /// Returns true if an unroutable id is not parked. In a plain queue that takes a pop, so a worker with a
    /// free slot.
    fn leaves_unparked(&self, system: &System) -> bool {
        let finds_out = system.flag.is_split() || self.free(system).next().is_some();
        let waits = |task: TaskNo| {
            system.is_pending(task) && self.is_unroutable(system, task) && system.parked[task] == 0
        };
        finds_out && (0..self.tasks.len()).any(waits)
    }

    /// Returns the live workers that have a free slot.
    fn free<'a>(&'a self, system: &'a System) -> impl Iterator<Item = WorkerNo> + 'a {
        self.live(system)
            .filter(|worker| system.workers[*worker].slots > 0)
    }

    /// Returns the violation of any state, settled or not.
    pub(crate) fn wrong_always(system: &System) -> Option<Wrong> {
        let grows = |list: &List| list.iter().any(|copies| *copies > COPIES);
        let lists = [system.main, system.typed, system.parked];
        lists.iter().any(grows).then_some(Wrong::Grows)
    }
}
