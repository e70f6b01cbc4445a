//! The steps of workers: pops, claims, misroutes, fallback polls.

use super::state::{At, Row, TaskNo, Worker, WorkerNo, take};
use super::step::Step;

impl Step<'_> {
    fn worker(&mut self, worker: WorkerNo) -> &mut Worker {
        &mut self.now.workers[worker]
    }

    /// Pops the main list, by `BLMPOP` or by the script; the state is read in the same pipeline.
    pub(crate) fn pop_main(&mut self, worker: WorkerNo, task: TaskNo) {
        take(&mut self.now.main, task);
        self.worker(worker).at = At::Popped { task, typed: false };
        self.see(worker);
    }

    /// Runs the pop script in a split queue.
    pub(crate) fn pop_type(&mut self, worker: WorkerNo, task: TaskNo) {
        take(&mut self.now.typed, task);
        self.balances = true;
        self.worker(worker).at = At::Popped { task, typed: true };
        self.see(worker);
    }

    /// Runs `BLMPOP` of type lists.
    pub(crate) fn pop_blocked(&mut self, worker: WorkerNo, task: TaskNo) {
        take(&mut self.now.typed, task);
        self.worker(worker).at = At::Owes(task);
    }

    /// Runs the `balance` that follows in the pipeline, and reads the state.
    pub(crate) fn balance_after_pop(&mut self, worker: WorkerNo) {
        if let At::Owes(task) = self.worker(worker).at {
            self.worker(worker).at = At::Popped { task, typed: true };
        }
        self.balance();
        self.balances |= !self.config.safeguards.balance_reads_state;
        self.see(worker);
    }

    /// Records the state of the queue from a reply.
    pub(crate) fn see(&mut self, worker: WorkerNo) {
        self.worker(worker).sees_split = self.now.flag.is_split();
    }

    /// Claims the popped id, with the full claim if the fast path left it.
    pub(crate) fn claim(&mut self, worker: WorkerNo) {
        let At::Popped { task, .. } = self.worker(worker).at else {
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
    }

    fn run(&mut self, worker: WorkerNo, task: TaskNo) {
        self.now.tasks[task].row = Row::Running;
        self.worker(worker).slots -= 1;
    }

    /// Hands a misrouted id back: to the heads of the lists, or to the parked ones.
    pub(crate) fn hand_back(&mut self, worker: WorkerNo) {
        let At::Misrouted { task, routable } = self.worker(worker).at else {
            return;
        };
        self.worker(worker).at = At::Idle;
        if routable {
            self.worker(worker).paused |= 1 << task;
            self.put(task);
        } else {
            self.now.parked[task] += 1;
        }
    }

    /// Puts back an id that was popped and certainly not claimed.
    pub(crate) fn put_back(&mut self, worker: WorkerNo) {
        let At::Popped { task, typed } = self.worker(worker).at else {
            return;
        };
        self.worker(worker).at = At::Idle;
        if typed {
            self.put(task);
        } else {
            self.now.main[task] += 1;
        }
    }

    /// Claims a task by a fallback poll.
    pub(crate) fn poll(&mut self, worker: WorkerNo, task: TaskNo) {
        self.run(worker, task);
        self.worker(worker).at = At::Polled(task);
    }

    /// Removes the id of a polled task from its list.
    pub(crate) fn remove_polled(&mut self, worker: WorkerNo) {
        let At::Polled(task) = self.worker(worker).at else {
            return;
        };
        self.worker(worker).at = At::Idle;
        let typed = if self.config.safeguards.remove_reads_state {
            self.now.flag.is_split()
        } else {
            self.worker(worker).sees_split
        };
        self.remove(task, typed);
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
            paused: 0,
        };
        if !self.config.safeguards.sorts_by_state {
            self.unpark(worker);
        }
    }

    /// Unparks the ids of a starting worker, for a leader that checks parked ids only then.
    fn unpark(&mut self, worker: WorkerNo) {
        for task in 0..self.config.tasks.len() {
            if self.config.knows(worker, task) && take(&mut self.now.parked, task) {
                self.put(task);
            }
        }
    }

    /// A process is killed and loses its memory.
    pub(crate) fn crash(&mut self, worker: WorkerNo) {
        let killed = self.worker(worker);
        killed.up = false;
        killed.at = At::Idle;
        killed.sees_split = false;
        killed.slots = 0;
        killed.paused = 0;
    }
}
