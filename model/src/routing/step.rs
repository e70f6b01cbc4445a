//! The effect of each event.

use super::actions::Action;
use super::config::Config;
use super::state::{At, Duty, Flag, List, Push, Row, System, TASKS, WorkerNo, len};

/// One event in progress.
pub(crate) struct Step<'a> {
    pub(crate) config: &'a Config,
    pub(crate) now: &'a mut System,
    /// True if the script of this event ends in `balance`.
    pub(crate) balances: bool,
}

impl Config {
    /// Calls `emit` with each state that may follow an event. If `balance` changes the length of the main
    /// list there are several: any of its ids may leave, and any ids of the type lists may join.
    pub fn after(&self, system: &System, action: Action, emit: &mut impl FnMut(System)) {
        let mut next = *system;
        let mut step = Step {
            config: self,
            now: &mut next,
            balances: false,
        };
        step.take(action);
        let balances = step.balances && self.safeguards.balances;
        next.leaders[..self.leaders].sort_unstable();
        if !balances {
            return emit(next);
        }
        let (main, typed) = (next.main, next.typed);
        if len(&main) >= len(&typed) {
            parts(main, len(&typed), &mut |kept| {
                next.main = kept;
                emit(next);
            });
        } else {
            parts(typed, len(&typed) - len(&main), &mut |joins| {
                next.main = std::array::from_fn(|task| main[task] + joins[task]);
                emit(next);
            });
        }
    }
}

/// Calls `emit` with each part of a list that has this length.
fn parts(list: List, length: u8, emit: &mut impl FnMut(List)) {
    fn choose(list: List, task: usize, left: u8, part: &mut List, emit: &mut impl FnMut(List)) {
        if task == TASKS {
            if left == 0 {
                emit(*part);
            }
            return;
        }
        for count in 0..=left.min(list[task]) {
            part[task] = count;
            choose(list, task + 1, left - count, part, emit);
        }
        part[task] = 0;
    }
    choose(list, 0, length, &mut List::default(), emit);
}

impl Step<'_> {
    /// Marks that the script ends in `balance`, which has no effect unless the queue is split.
    pub(crate) fn balance(&mut self) {
        self.balances = self.now.flag.is_split();
    }

    fn take(&mut self, action: Action) {
        match action {
            Action::Submit { task } => self.become_pending(task),
            Action::Push { task } => self.push(task),
            Action::RemoveCancelled { task } => {
                self.now.tasks[task].push = Push::Done;
                self.remove(task, self.now.flag.is_split());
            }
            Action::PopMain { worker, task } => self.pop_main(worker, task),
            Action::PopType { worker, task } => self.pop_type(worker, task),
            Action::PopBlocked { worker, task } => self.pop_blocked(worker, task),
            Action::Balance { worker } => self.balance_after_pop(worker),
            Action::See { worker } => self.see(worker),
            Action::Claim { worker } => self.claim(worker),
            Action::Return { worker } => self.hand_back(worker),
            Action::Poll { worker, task } => self.poll(worker, task),
            Action::Remove { worker } => self.remove_polled(worker),
            Action::DeclareDead { worker } => self.now.workers[worker].registered = false,
            Action::Begin { leader, duty } => self.begin(leader, duty),
            Action::Go { leader } => self.go(leader),
            Action::BalanceAll => self.balance(),
            fault => self.inject(fault),
        }
    }

    fn inject(&mut self, fault: Action) {
        self.now.faults_left -= 1;
        match fault {
            Action::Start { worker } => self.start(worker),
            Action::Stop { worker } => {
                self.crash(worker);
                self.now.workers[worker].registered = false;
            }
            Action::Crash { worker } => self.crash(worker),
            Action::LosePush { task } => self.now.tasks[task].push = Push::Done,
            Action::LoseReply { worker } | Action::LoseRemoval { worker } => self.rest(worker),
            Action::Refuse { worker } => self.put_back(worker),
            Action::Miss { worker } => {
                self.rest(worker);
                self.now.unremoved = true;
            }
            Action::Flush => self.flush(),
            Action::LeaderDies { leader } => self.now.leaders[leader] = Duty::None,
            Action::Release { task } => self.become_pending(task),
            Action::Cancel { task } => {
                let cancelled = &mut self.now.tasks[task];
                cancelled.row = Row::Cancelled;
                if cancelled.push == Push::Done {
                    cancelled.push = Push::Remove;
                }
            }
            Action::HastyDuty { leader, duty } => self.begin(leader, duty),
            Action::HastyCatchUp { leader } => self.go(leader),
            _ => {}
        }
    }

    fn rest(&mut self, worker: WorkerNo) {
        self.now.workers[worker].at = At::Idle;
    }

    fn become_pending(&mut self, task: usize) {
        self.now.tasks[task].row = Row::Pending;
        self.now.tasks[task].push = Push::Due;
    }

    /// `FLUSHALL` deletes all keys, including temporary lists, without which a rebuild or fill in progress
    /// fails.
    fn flush(&mut self) {
        self.now.main = List::default();
        self.now.typed = self.now.main;
        self.now.parked = self.now.main;
        self.now.flag = Flag::Absent;
        self.now.unremoved = false;
        for duty in &mut self.now.leaders {
            match *duty {
                Duty::Make {
                    rows: 0, parked: 0, ..
                }
                | Duty::Adopt { rows: 0, .. } => {}
                Duty::Make { .. } | Duty::Adopt { .. } => *duty = Duty::None,
                _ => {}
            }
        }
    }
}
