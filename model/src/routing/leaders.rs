//! The steps of the leader's duties.

use super::config::Config;
use super::state::{Bits, By, Duty, Filling, Flag, List, Place, Push, Row, TaskNo, Why, len, take};
use super::step::Step;

/// Returns the list that holds each of these tasks once.
fn listed(tasks: Bits) -> List {
    std::array::from_fn(|task| tasks >> task & 1)
}

impl Step<'_> {
    /// Ends the workers' pauses after a duty, which may have changed the lists that they wait for.
    fn end_pauses(&mut self) {
        for worker in &mut self.now.workers {
            worker.paused = 0;
        }
    }

    /// A leader finds that a duty is due.
    pub(crate) fn begin(&mut self, leader: usize, duty: Duty) {
        if duty == Duty::Sweep(Why::Unremoved) {
            self.now.unremoved = false;
        }
        self.now.leaders[leader] = duty;
    }

    /// Takes the next step of a leader's duty.
    pub(crate) fn go(&mut self, leader: usize) {
        self.now.leaders[leader] = match self.now.leaders[leader] {
            Duty::None => Duty::None,
            Duty::Open(by) => self.open(by),
            Duty::Fill(filling) => self.read(Some(filling)),
            Duty::List => self.read(None),
            Duty::Make { rows, parked, types } => self.replace(rows, parked, types),
            Duty::Adopt { rows, read, filling } => self.adopt(rows, read, filling),
            Duty::CatchUp { read, types } => self.catch_up(read, types),
            Duty::Close(flag) => self.merge(flag),
            Duty::Park { task_type } => self.park(task_type),
            Duty::Sort { task, to, copies } => self.sort(task, to, copies),
            Duty::Unpark {
                task,
                copies,
                repeated,
            } => {
                self.now.parked[task] = self.without(self.now.parked[task], copies, repeated);
                Duty::None
            }
            Duty::Sweep(why) => self.sweep(why),
            Duty::Remove { typed, gone, pending } => self.remove_marked(typed, gone, pending),
        };
        if self.now.leaders[leader] == Duty::None {
            self.end_pauses();
        }
    }

    /// `OPEN`.
    fn open(&mut self, by: By) -> Duty {
        let opens = self.config.safeguards.opens_first;
        if opens && !matches!(self.now.flag, Flag::Opening | Flag::Split) {
            self.now.flag = Flag::Opening;
            self.begin_generation();
        }
        Duty::Fill(Filling { by, is_current: true })
    }

    /// Begins a generation of type lists, to which fills in progress do not belong.
    fn begin_generation(&mut self) {
        for duty in &mut self.now.leaders {
            match duty {
                Duty::Fill(filling)
                | Duty::Make {
                    types: Some(filling), ..
                }
                | Duty::Adopt { filling, .. } => filling.is_current = false,
                _ => {}
            }
        }
    }

    /// Reads the pending rows, and the types of live workers.
    fn read(&mut self, types: Option<Filling>) -> Duty {
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
        if types.is_none() && rows | parked == 0 {
            return Duty::None;
        }
        Duty::Make { rows, parked, types }
    }

    /// `RENAME` or `DEL` of the parked hints, and in the same `MULTI` `RENAME` of the main list if there is a
    /// new one.
    fn replace(&mut self, rows: Bits, parked: Bits, types: Option<Filling>) -> Duty {
        let read = rows | parked;
        if let Some(filling) = types {
            if !self.config.safeguards.adopt_reads_state {
                self.replace_parked(parked);
            }
            return Duty::Adopt { rows, read, filling };
        }
        self.replace_parked(parked);
        if rows != 0 || self.config.safeguards.rebuild_empties {
            self.now.main = listed(rows);
        }
        self.caught_up(read, None)
    }

    fn replace_parked(&mut self, parked: Bits) {
        if self.config.safeguards.rebuild_parks {
            self.now.parked = listed(parked);
        }
    }

    /// The part of `ADOPT` for parked hints: keeps those that are not in the new lists.
    fn adopt_parked(&mut self, rows: Bits, parked: Bits) {
        let kept = self.now.parked;
        self.replace_parked(parked);
        for task in (0..kept.len()).filter(|task| (rows | parked) >> task & 1 == 0) {
            if self.config.safeguards.adopt_keeps_parked {
                self.now.parked[task] = kept[task];
            }
        }
    }

    fn caught_up(&self, read: Bits, types: Option<Bits>) -> Duty {
        if self.config.safeguards.catch_up {
            Duty::CatchUp { read, types }
        } else {
            Duty::None
        }
    }

    /// `ADOPT`.
    fn adopt(&mut self, rows: Bits, read: Bits, filling: Filling) -> Duty {
        let safeguards = self.config.safeguards;
        if safeguards.adopt_reads_generation && !filling.is_current {
            return Duty::None;
        }
        let open = matches!(self.now.flag, Flag::Opening | Flag::Split);
        if safeguards.adopt_reads_state {
            if !open {
                return Duty::None;
            }
            self.adopt_parked(rows, read & !rows);
        }
        let known = |task: &TaskNo| rows >> task & 1 != 0;
        let tasks = 0..self.config.tasks.len();
        let types = tasks.clone().filter(known);
        let types = types.fold(0, |types, task| types | self.config.tasks[task]);
        let keeps = safeguards.adopt_keeps && !self.config.long_lists;
        for task in tasks.filter(|task| types & self.config.tasks[*task] != 0) {
            if known(&task) || !keeps {
                self.now.typed[task] = rows >> task & 1;
            }
        }
        self.now.flag = Flag::Split;
        self.balance();
        if self.config.long_lists {
            self.caught_up(read, Some(types))
        } else if filling.by == By::Router && safeguards.sweeps_after_split {
            Duty::Sweep(Why::Split)
        } else {
            Duty::None
        }
    }

    /// Pushes rows that became pending since the read, and whose hints are not in the new lists.
    fn catch_up(&mut self, read: Bits, types: Option<Bits>) -> Duty {
        for task in 0..self.config.tasks.len() {
            let listed = match types {
                None => self.now.main[task] > 0,
                Some(types) => types & self.config.tasks[task] != 0 && self.now.typed[task] > 0,
            };
            if self.now.is_pending(task) && read >> task & 1 == 0 && !listed {
                self.put(task);
            }
        }
        Duty::None
    }

    /// `MERGE`.
    fn merge(&mut self, decided: Flag) -> Duty {
        let state = if self.config.safeguards.merge_reads_state {
            self.now.flag
        } else {
            decided
        };
        if state == Flag::Absent && self.config.safeguards.merge_spares_plain {
            return Duty::None;
        }
        if state == Flag::Split {
            self.now.main = self.now.typed;
        }
        self.now.flag = if state == Flag::Closing {
            Flag::Absent
        } else {
            Flag::Closing
        };
        self.now.typed = List::default();
        Duty::None
    }

    /// `PARK`.
    fn park(&mut self, task_type: Bits) -> Duty {
        let reads_state = self.config.safeguards.park_reads_state;
        if reads_state && !self.now.flag.is_split() {
            return Duty::None;
        }
        for task in 0..self.config.tasks.len() {
            if self.config.tasks[task] == task_type {
                self.now.parked[task] += std::mem::take(&mut self.now.typed[task]);
            }
        }
        self.balances = true;
        Duty::None
    }

    fn sort(&mut self, task: TaskNo, to: Place, copies: u8) -> Duty {
        if to == Place::Main {
            self.put(task);
        }
        let repeated = to == Place::Parked;
        let copies = copies - u8::from(repeated);
        Duty::Unpark {
            task,
            copies,
            repeated,
        }
    }

    /// Reads the lists that are popped, and which of their ids are pending.
    fn sweep(&mut self, why: Why) -> Duty {
        let typed = self.now.flag.is_split();
        let list = if typed { self.now.typed } else { self.now.main };
        let kept = |task: TaskNo| u8::from(self.now.tasks[task].row == Row::Pending);
        let gone: List = std::array::from_fn(|task| list[task].saturating_sub(kept(task)));
        if len(&gone) > 0 {
            let pending = (0..gone.len()).filter(|task| self.now.is_pending(*task));
            let pending = pending.fold(0, |pending, task| pending | 1 << task);
            Duty::Remove { typed, gone, pending }
        } else if why == Why::Exceeds && self.config.safeguards.sweep_rebuilds {
            Config::rebuild(self.now)
        } else {
            Duty::None
        }
    }

    fn remove_marked(&mut self, typed: bool, gone: List, pending: Bits) -> Duty {
        let list = if typed { self.now.typed } else { self.now.main };
        let left = |task: TaskNo| self.without(list[task], gone[task], pending >> task & 1 != 0);
        let left = std::array::from_fn(left);
        *(if typed {
            &mut self.now.typed
        } else {
            &mut self.now.main
        }) = left;
        self.balance();
        Duty::None
    }

    /// Returns the number of copies of an id that are left.
    fn without(&self, copies: u8, gone: u8, repeated: bool) -> u8 {
        let least = u8::from(repeated && self.config.safeguards.sweeps_leave_one);
        copies.saturating_sub(gone).max(copies.min(least))
    }

    /// `PUSH`.
    pub(crate) fn put(&mut self, task: TaskNo) {
        self.now.main[task] += 1;
        let fills = self.now.flag.is_set() && self.config.safeguards.push_fills_types;
        self.now.typed[task] += u8::from(fills);
    }

    /// The push of a server.
    pub(crate) fn push(&mut self, task: TaskNo) {
        self.put(task);
        self.now.tasks[task].push = Push::Done;
    }

    /// `REMOVE`, from the type list or the main list, or else from the parked hints.
    pub(crate) fn remove(&mut self, task: TaskNo, typed: bool) {
        let list = if typed {
            &mut self.now.typed
        } else {
            &mut self.now.main
        };
        let found = take(list, task) || take(&mut self.now.parked, task);
        let others = len(list) + len(&self.now.parked) > 0;
        self.now.unremoved |= !found && others;
        self.balance();
    }
}
