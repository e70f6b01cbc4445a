//! The steps of workers and leaders between their SQL statements (`shared/engine/src/` and the server's
//! maintenance duties).

use crate::state::{Claim, ClaimAt, Handler, Leader, Phase, ProcessState, Run, System, TaskNo, WorkerId};
use crate::statements::{Step, Verdict};

impl Step<'_> {
    /// `Popper::pop` and the begin of `claim_popped`, which drops hints of tasks in flight.
    pub(crate) fn pop(&mut self, process: usize, task: TaskNo) {
        self.now.list[task] -= 1;
        if !self.now.has_in_flight(process, task) {
            let worker = self.now.id(process);
            self.note(Claim {
                worker,
                task,
                at: ClaimAt::Sent,
            });
        }
    }

    /// `claim` of a popped task. It takes effect even if the process has died since; only the response needs
    /// it.
    pub(crate) fn claim(&mut self, worker: WorkerId, task: TaskNo, saw_itself_alive: bool) {
        self.now.claims.retain(|claim| claim.worker != worker);
        let outcome = self.claim_row(worker, task, saw_itself_alive);
        if let Some(at) = outcome
            && self.now.process_of(worker).is_some()
        {
            self.note(Claim { worker, task, at });
        }
    }

    /// `Executor::start`, or a new registration of a worker that learns that it was declared dead.
    pub(crate) fn receive_claim(&mut self, claim: Claim) {
        self.now.claims.retain(|other| *other != claim);
        let process = claim.worker.process;
        match claim.at {
            ClaimAt::Sent => {}
            ClaimAt::NotAlive => {
                self.now.pushes[claim.task] += 1;
                self.re_register(process);
            }
            ClaimAt::Took(number) => self.start(
                process,
                Run {
                    task: claim.task,
                    number,
                },
            ),
        }
    }

    /// `Executor::spawn`: starts a new run, ignores one already in flight, releases one whose task has an
    /// earlier run in flight.
    fn start(&mut self, process: usize, run: Run) {
        let handlers = &self.now.processes[process].handlers;
        if handlers.iter().any(|other| other.in_flight && other.run == run) {
            return;
        }
        let in_flight = !self.now.has_in_flight(process, run.task);
        let phase = if in_flight { Phase::Runs } else { Phase::Refused };
        self.add(
            process,
            Handler {
                run,
                in_flight,
                phase,
            },
        );
    }

    /// Writes the release of a run. `InFlight` removes it later, by [`Step::remove_in_flight`].
    pub(crate) fn release_run(&mut self, process: usize, handler: Handler) {
        let worker = self.now.id(process);
        self.end_runs(worker, handler.run, Verdict::Released);
        self.drop_handler(process, handler);
        self.add(
            process,
            Handler {
                phase: Phase::Released,
                ..handler
            },
        );
    }

    /// `InFlight::remove`: by run number, so that it may also remove another handler of the same run.
    pub(crate) fn remove_in_flight(&mut self, process: usize, handler: Handler) {
        self.drop_handler(process, handler);
        let handlers = &mut self.now.processes[process].handlers;
        for other in handlers.iter_mut().filter(|other| other.run == handler.run) {
            other.in_flight = false;
        }
        handlers.sort_unstable();
    }

    /// A process registers with a new id and no runs in flight, at its start or after it was declared dead.
    pub(crate) fn re_register(&mut self, process: usize) {
        self.forget(process);
        let restarted = &mut self.now.processes[process];
        restarted.state = ProcessState::Up;
        restarted.life += 1;
    }

    /// The process loses its memory and pending responses. Requests already sent still take effect.
    pub(crate) fn forget(&mut self, process: usize) {
        self.now
            .claims
            .retain(|claim| claim.worker.process != process || claim.at == ClaimAt::Sent);
        self.now.processes[process].handlers.clear();
    }

    /// The first half of `Rebuilder::rebuild`: reads the pending rows.
    pub(crate) fn rebuild(&mut self, leader: usize) {
        let pending = self.now.tasks.iter().map(|task| u8::from(task.is_pending()));
        self.now.leaders[leader].list = Some(pending.collect());
    }

    /// The second half: RENAME, which loses hints pushed since the read.
    pub(crate) fn replace(&mut self, leader: usize) {
        if let Some(list) = self.now.leaders[leader].list.take() {
            self.now.list = list;
        }
    }

    /// The read of a leader that reads first and writes later.
    pub(crate) fn read_runs(&mut self, leader: usize) {
        for (run, worker) in self.now.running().collect::<Vec<_>>() {
            self.now.leaders[leader].seen[run.task] = self.now.is_dead(worker);
        }
    }

    fn note(&mut self, claim: Claim) {
        self.now.claims.push(claim);
        self.now.claims.sort_unstable();
    }

    fn add(&mut self, process: usize, handler: Handler) {
        let handlers = &mut self.now.processes[process].handlers;
        handlers.push(handler);
        handlers.sort_unstable();
    }

    fn drop_handler(&mut self, process: usize, handler: Handler) {
        let handlers = &mut self.now.processes[process].handlers;
        if let Some(place) = handlers.iter().position(|other| *other == handler) {
            handlers.remove(place);
        }
    }
}

impl System {
    /// Returns true if more rows are pending than the list has entries (`has_more_than`).
    pub(crate) fn list_lacks_hints(&self) -> bool {
        let pending = self.tasks.iter().filter(|task| task.is_pending()).count();
        pending > self.list.iter().map(|hints| usize::from(*hints)).sum()
    }

    /// Returns true if the list lacks hints although no message is in flight and no worker would drop the
    /// hint, as after a second comparison some seconds later.
    pub(crate) fn list_still_lacks_hints(&self) -> bool {
        let on_the_way = self.claims.iter().any(|claim| claim.at == ClaimAt::Sent)
            || self.pushes.iter().any(|hints| *hints > 0)
            || self.leaders.iter().any(|leader| leader.list.is_some());
        let in_flight = |task: TaskNo| {
            (0..self.processes.len()).any(|process| {
                self.processes[process].state == ProcessState::Up && self.has_in_flight(process, task)
            })
        };
        let dropped = self
            .tasks
            .iter()
            .enumerate()
            .any(|(task, found)| found.is_pending() && in_flight(task));
        self.list_lacks_hints() && !on_the_way && !dropped
    }
}

impl Leader {
    /// Returns true if it has read runs that it has not recovered yet.
    pub(crate) fn has_seen(&self) -> bool {
        self.seen.contains(&true)
    }
}
