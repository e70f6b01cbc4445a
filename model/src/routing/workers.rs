//! Workers: pops, claims, misroutes, polls.

use super::config::Config;
use super::state::{At, Flag, List, Row, TaskNo, Worker, WorkerNo, take};
use super::step::Step;

impl Step<'_> {
    fn worker(&mut self, worker: WorkerNo) -> &mut Worker {
        &mut self.now.workers[worker]
    }

    /// `BLMPOP` of the main list; `MGET` of the flags follows in the same pipeline.
    pub(crate) fn pop_main(&mut self, worker: WorkerNo, task: TaskNo) {
        take(&mut self.now.main, task);
        self.worker(worker).at = At::Popped(task);
        self.see(worker);
    }

    /// The pop script.
    pub(crate) fn pop_type(&mut self, worker: WorkerNo, task: TaskNo, main: TaskNo) {
        take(&mut self.now.typed, task);
        take(&mut self.now.main, main);
        self.worker(worker).at = At::Popped(task);
    }

    /// `BLMPOP` of type lists.
    pub(crate) fn pop_blocked(&mut self, worker: WorkerNo, task: TaskNo) {
        take(&mut self.now.typed, task);
        let pays = self.config.safeguards.pays_main;
        self.worker(worker).at = if pays { At::Owes(task) } else { At::Popped(task) };
    }

    /// Takes an id from the main list: any in a split queue, the popped one in others.
    pub(crate) fn pay_main(&mut self, worker: WorkerNo, main: Option<TaskNo>) {
        let at = self.worker(worker).at;
        let next = if let At::Owes(task) = at {
            At::Popped(task)
        } else {
            At::Idle
        };
        match (main, at) {
            (Some(main), _) => take(&mut self.now.main, main),
            (None, At::Owes(task)) => take(&mut self.now.main, task),
            (None, _) => false,
        };
        self.worker(worker).at = next;
        self.see(worker);
    }

    /// A reply names the flag.
    pub(crate) fn see(&mut self, worker: WorkerNo) {
        self.worker(worker).sees_split = self.now.flag.is_split();
    }

    /// The claim, the full one where the fast path left the id.
    pub(crate) fn claim(&mut self, worker: WorkerNo) {
        let At::Popped(task) = self.worker(worker).at else {
            return;
        };
        self.worker(worker).at = At::Idle;
        if !self.now.is_pending(task) {
            return;
        }
        if self.config.knows(worker, task) {
            self.run(worker, task);
            return;
        }
        let routable = self.config.types(self.now) & self.config.tasks[task] != 0;
        self.worker(worker).at = At::Misrouted { task, routable };
        if routable && self.config.counts_misroutes {
            let count = &mut self.worker(worker).misrouted[task];
            *count = 3.min(*count + 1);
        }
    }

    fn run(&mut self, worker: WorkerNo, task: TaskNo) {
        self.now.tasks[task].row = Row::Running;
        self.worker(worker).slots -= 1;
    }

    /// Hands a misrouted id back: to the lists and the flag in one `MULTI`, or to the parked ones.
    pub(crate) fn hand_back(&mut self, worker: WorkerNo) {
        let At::Misrouted { task, routable } = self.worker(worker).at else {
            return;
        };
        self.worker(worker).at = At::Idle;
        if !routable {
            self.now.parked[task] += 1;
            return;
        }
        let Config { safeguards, .. } = self.config;
        self.now.main[task] += 1;
        if !safeguards.misroute_splits {
            return;
        }
        self.now.typed[task] += u8::from(safeguards.misroute_fills_type);
        let opened = if safeguards.opening {
            Flag::Opening
        } else {
            Flag::Split
        };
        self.now.flag = match self.now.flag {
            Flag::Absent => opened,
            Flag::Closing if safeguards.misroute_reopens => opened,
            other => other,
        };
        self.see(worker);
    }

    /// A claim from the table.
    pub(crate) fn poll(&mut self, worker: WorkerNo, task: TaskNo) {
        self.run(worker, task);
        self.worker(worker).at = At::Polled(task);
    }

    /// `REMOVE` of a polled id, from the kind of list that this worker pops.
    pub(crate) fn remove(&mut self, worker: WorkerNo) {
        let At::Polled(task) = self.worker(worker).at else {
            return;
        };
        self.worker(worker).at = At::Idle;
        if !self.worker(worker).sees_split {
            take(&mut self.now.main, task);
        } else if take(&mut self.now.typed, task) {
            self.worker(worker).at = At::Removed;
        }
    }

    /// A process starts and registers.
    pub(crate) fn start(&mut self, worker: WorkerNo) {
        let slots = self.config.workers[worker].slots;
        *self.worker(worker) = Worker {
            up: true,
            registered: true,
            sees_split: false,
            slots,
            at: At::Idle,
            misrouted: List::default(),
        };
        if !self.config.safeguards.sorts_by_state {
            self.unpark(worker);
        }
    }

    /// The leader's one look at parked ids where it reacts to a start alone.
    fn unpark(&mut self, worker: WorkerNo) {
        for task in 0..self.config.tasks.len() {
            if self.config.knows(worker, task) && take(&mut self.now.parked, task) {
                self.put(task);
            }
        }
    }

    /// A process is killed: what it held is gone.
    pub(crate) fn crash(&mut self, worker: WorkerNo) {
        let killed = self.worker(worker);
        killed.up = false;
        killed.at = At::Idle;
        killed.sees_split = false;
        killed.slots = 0;
    }
}
