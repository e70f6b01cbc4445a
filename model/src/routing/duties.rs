//! The conditions under which each duty of a leader is due.

use super::actions::Action;
use super::config::Config;
use super::state::{At, Bits, By, Duty, Flag, Place, Push, System, Task, TaskNo, Why, ids, len};

impl Config {
    /// Adds the steps that leaders may take now.
    pub(crate) fn leader_steps(&self, system: &System, add: &mut impl FnMut(Action)) {
        let unequal = len(&system.main) != len(&system.typed);
        let unbalanced = unequal && system.flag.is_split() && self.safeguards.balances;
        for leader in 0..self.leaders {
            match system.leaders[leader] {
                Duty::None => {
                    let mut waits = unbalanced;
                    self.duties(system, &mut |duty| {
                        waits = true;
                        add(Action::Begin { leader, duty });
                    });
                    // all other duties run several times between two comparisons
                    if self.safeguards.comparisons && !waits && self.is_at_rest(system) {
                        Self::repairs(system, &mut |duty| add(Action::Begin { leader, duty }));
                    }
                }
                Duty::CatchUp { read, .. } if may_miss(system, read) => {}
                Duty::Sweep(Why::Split) if pops_from_before(system) => {}
                _ => add(Action::Go { leader }),
            }
        }
        if unbalanced && self.leaders > 0 {
            add(Action::BalanceAll);
        }
    }

    /// Returns true if a leader has a step to take or waits for one of others.
    pub(crate) fn leader_moves(&self, system: &System) -> bool {
        let mut moves = system.leaders.iter().any(|duty| *duty != Duty::None);
        self.leader_steps(system, &mut |_| moves = true);
        moves
    }

    /// Calls `add` for each duty that is due in the current state of Redis and the table.
    fn duties(&self, system: &System, add: &mut impl FnMut(Duty)) {
        match (self.is_mixed(system), system.flag) {
            (true, Flag::Split) | (false, Flag::Absent) => {}
            (true, _) => add(Duty::Open(By::Router)),
            (false, _) if self.safeguards.merge_reads_state => add(Duty::Close(Flag::Absent)),
            (false, flag) => add(Duty::Close(flag)),
        }
        if system.flag.is_split() && self.safeguards.parks {
            for task in ids(&system.typed).filter(|task| self.is_unroutable(system, *task)) {
                let task_type = self.tasks[task];
                add(Duty::Park { task_type });
            }
        }
        if self.safeguards.sorts_by_state {
            for task in ids(&system.parked) {
                let (to, copies) = (self.place(system, task), system.parked[task]);
                if to != Place::Parked || copies > 1 {
                    add(Duty::Sort { task, to, copies });
                }
            }
        }
        if system.unremoved && self.safeguards.sweeps_unremoved {
            add(Duty::Sweep(Why::Unremoved));
        }
    }

    /// Returns the list where a parked id belongs.
    fn place(&self, system: &System, task: TaskNo) -> Place {
        if !system.is_pending(task) {
            Place::Nowhere
        } else if self.is_unroutable(system, task) {
            Place::Parked
        } else {
            Place::Main
        }
    }

    /// Returns true if no message is in flight, so that two comparisons in a row find the same.
    pub fn is_at_rest(&self, system: &System) -> bool {
        system.tasks.iter().all(|task| task.push == Push::Done)
            && system.workers.iter().all(|worker| worker.at == At::Idle)
            && system.leaders.iter().all(|duty| *duty == Duty::None)
    }

    /// Adds the duty that a comparison of lengths triggers.
    fn repairs(system: &System, add: &mut impl FnMut(Duty)) {
        match (len(&system.main) + len(&system.parked)).cmp(&system.pending()) {
            std::cmp::Ordering::Less => add(Self::rebuild(system)),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => add(Duty::Sweep(Why::Exceeds)),
        }
    }

    /// Returns the duty that rebuilds the lists that are popped.
    pub(crate) fn rebuild(system: &System) -> Duty {
        if system.flag.is_split() {
            Duty::Open(By::Rebuilder)
        } else {
            Duty::List
        }
    }
}

/// Returns true if workers may still have, or pop, ids from the main list of before the split.
fn pops_from_before(system: &System) -> bool {
    system.flag.is_split()
        && system.workers.iter().any(|worker| {
            let blocks = worker.at == At::Idle && worker.slots > 0;
            let holds = matches!(worker.at, At::Popped { typed: false, .. } | At::Misrouted { .. });
            worker.up && (blocks && !worker.sees_split || holds)
        })
}

/// Returns true if a push is in flight for a row that was not read.
fn may_miss(system: &System, read: Bits) -> bool {
    let unread = |(task, found): (usize, &Task)| read & (1 << task) == 0 && found.push == Push::Due;
    system.tasks.iter().enumerate().any(unread)
}
