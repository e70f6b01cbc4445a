//! The leader's duties: when each is due, and its steps.

use super::config::Config;
use super::state::{Bits, Duty, Flag, List, Place, Push, System, TaskNo, ids, len, take};
use super::step::Step;

impl Config {
    /// Calls `add` for each duty that is due by what Redis and the table say at this moment.
    pub(crate) fn duties(&self, system: &System, add: &mut impl FnMut(Duty)) {
        let mixed = self.is_mixed(system);
        match system.flag {
            Flag::Absent | Flag::Closing if mixed => add(Duty::Open),
            Flag::Opening => add(Duty::Fill),
            Flag::Split if !mixed => add(Duty::Close),
            Flag::Closing => add(Duty::Drop),
            _ => {}
        }
        if system.flag.is_split() && self.safeguards.parks {
            for task in ids(&system.typed).filter(|task| self.is_unroutable(system, *task)) {
                let task_type = self.tasks[task];
                add(Duty::Park { task_type });
            }
        }
        if self.safeguards.sorts_by_state {
            for task in ids(&system.parked) {
                let to = self.place(system, task);
                if to != Place::Parked || system.parked[task] > 1 {
                    add(Duty::Sort { task, to });
                }
            }
        }
    }

    /// Returns where a parked id belongs.
    fn place(&self, system: &System, task: TaskNo) -> Place {
        if !system.is_pending(task) {
            Place::Nowhere
        } else if self.is_unroutable(system, task) {
            Place::Parked
        } else {
            Place::Main
        }
    }
}

impl Step<'_> {
    /// Takes the next step of a leader's duty.
    pub(crate) fn go(&mut self, leader: usize, main: Option<TaskNo>) {
        self.now.leaders[leader] = match self.now.leaders[leader] {
            Duty::None => Duty::None,
            Duty::Open => self.open(),
            Duty::Fill => self.read(Some(Flag::Split)),
            Duty::Close => self.read(Some(Flag::Closing)),
            Duty::Drop => self.delete_type_lists(),
            Duty::Make { rows, parked, to } => self.replace(rows, parked, to),
            Duty::CatchUp { read } => self.catch_up(read),
            Duty::Park { task_type } => self.park(task_type, main),
            Duty::Sort { task, to } => self.sort(task, to),
            Duty::Trim { stale } => self.trim(stale),
        };
    }

    fn open(&mut self) -> Duty {
        self.now.flag = if self.config.safeguards.opening {
            Flag::Opening
        } else {
            Flag::Split
        };
        Duty::Fill
    }

    /// Reads the pending rows, and the types of live workers.
    pub(crate) fn read(&mut self, to: Option<Flag>) -> Duty {
        let (mut rows, mut parked): (Bits, Bits) = (0, 0);
        for task in 0..self.config.tasks.len() {
            let unroutable =
                self.config.safeguards.rebuild_parks && self.config.is_unroutable(self.now, task);
            if self.now.is_pending(task) && unroutable {
                parked |= 1 << task;
            } else if self.now.is_pending(task) {
                rows |= 1 << task;
            }
        }
        Duty::Make { rows, parked, to }
    }

    /// `RENAME` of all lists in one `MULTI`, with the flag.
    fn replace(&mut self, rows: Bits, parked: Bits, to: Option<Flag>) -> Duty {
        for task in 0..self.config.tasks.len() {
            self.now.main[task] = rows >> task & 1;
            if self.config.safeguards.rebuild_parks {
                self.now.parked[task] = parked >> task & 1;
            }
            if to == Some(Flag::Split) {
                self.now.typed[task] = rows >> task & 1;
            }
        }
        self.now.flag = to.unwrap_or(self.now.flag);
        if self.config.safeguards.catch_up {
            Duty::CatchUp { read: rows | parked }
        } else {
            Duty::None
        }
    }

    /// Pushes rows that became pending since the read, and whose hints are not in the new list.
    fn catch_up(&mut self, read: Bits) -> Duty {
        for task in 0..self.config.tasks.len() {
            let split = self.now.flag.is_split();
            let held = self.now.main[task] > 0 && (!split || self.now.typed[task] > 0);
            if self.now.is_pending(task) && read >> task & 1 == 0 && !held {
                self.put(task);
            }
        }
        Duty::None
    }

    fn delete_type_lists(&mut self) -> Duty {
        if self.now.flag == Flag::Closing || !self.config.safeguards.drop_is_conditional {
            self.now.flag = Flag::Absent;
            self.now.typed = List::default();
        }
        Duty::None
    }

    /// Moves one id of a type list to the parked ones. The next pass moves the next.
    fn park(&mut self, task_type: Bits, main: Option<TaskNo>) -> Duty {
        if self.config.safeguards.park_reads_flag && !self.now.flag.is_split() {
            return Duty::None;
        }
        let found = ids(&self.now.typed).find(|task| self.config.tasks[*task] == task_type);
        if let Some(task) = found {
            take(&mut self.now.typed, task);
            self.now.parked[task] += 1;
            if let Some(main) = main {
                take(&mut self.now.main, main);
            }
        }
        Duty::None
    }

    fn sort(&mut self, task: TaskNo, to: Place) -> Duty {
        let held = self.now.parked[task] > 0;
        self.now.parked[task] = u8::from(held && to == Place::Parked);
        if held && to == Place::Main {
            self.put(task);
        }
        Duty::None
    }

    fn trim(&mut self, stale: Bits) -> Duty {
        for task in 0..self.config.tasks.len() {
            let kept = u8::from(stale >> task & 1 == 0);
            self.now.main[task] = self.now.main[task].min(kept);
        }
        Duty::None
    }

    /// Puts an id on the main list, and on its type list where the flag is set.
    pub(crate) fn put(&mut self, task: TaskNo) {
        self.now.main[task] += 1;
        self.now.typed[task] += u8::from(self.now.flag.is_set());
    }

    /// The first round trip of a push.
    pub(crate) fn push(&mut self, task: TaskNo, assumed: bool) {
        self.now.main[task] += 1;
        self.now.typed[task] += u8::from(assumed);
        let lacks = self.now.flag.is_set() && !assumed && self.config.safeguards.second_push;
        self.now.tasks[task].push = if lacks { Push::Second } else { Push::Done };
    }

    /// Removes the id of a cancelled task.
    pub(crate) fn remove_cancelled(&mut self, task: TaskNo, main: Option<TaskNo>) {
        self.now.tasks[task].push = Push::Done;
        if !self.now.flag.is_split() {
            take(&mut self.now.main, task);
        } else if take(&mut self.now.typed, task)
            && let Some(main) = main
        {
            take(&mut self.now.main, main);
        }
    }

    /// `FLUSHALL`: the keys are gone, and so are lists in the making.
    pub(crate) fn flush(&mut self) {
        self.now.main = List::default();
        self.now.typed = self.now.main;
        self.now.parked = self.now.main;
        self.now.flag = Flag::Absent;
        for duty in &mut self.now.leaders {
            if matches!(duty, Duty::Make { .. }) {
                *duty = Duty::None;
            }
        }
    }

    /// Returns whether a flush would change anything.
    pub(crate) fn is_empty(system: &System) -> bool {
        len(&system.main) + len(&system.typed) + len(&system.parked) == 0 && system.flag == Flag::Absent
    }
}
