//! Workers and leaders: what they do between their statements, in `worker/src/` and `api/src/orchestrator/`.

use crate::state::{Claim, ClaimAt, Handler, Leader, Phase, ProcessState, Run, System, TaskNo, WorkerId};
use crate::statements::{Step, Verdict};

impl Step<'_> {
    /// `Popper::pop`, and what `claim_popped` does before it claims: hints of held tasks are dropped.
    pub(crate) fn pop(&mut self, process: usize, task: TaskNo) {
        self.now.list[task] -= 1;
        if !self.now.holds(process, task) {
            let worker = self.now.id(process);
            self.note(Claim {
                worker,
                task,
                at: ClaimAt::Sent,
            });
        }
    }

    /// `claim` of what was popped. The statement needs no living process any more, only the answer does.
    pub(crate) fn claim(&mut self, worker: WorkerId, task: TaskNo, saw_itself_alive: bool) {
        self.now.claims.retain(|claim| claim.worker != worker);
        let outcome = self.claim_row(worker, task, saw_itself_alive);
        if let Some(at) = outcome
            && self.now.process_of(worker).is_some()
        {
            self.note(Claim { worker, task, at });
        }
    }

    /// `Claimer::start`, or the end of a worker that learns that it is dead.
    pub(crate) fn receive_claim(&mut self, claim: Claim) {
        self.now.claims.retain(|other| *other != claim);
        let process = claim.worker.process;
        match claim.at {
            ClaimAt::Sent => {}
            ClaimAt::NotAlive => {
                self.now.pushes[claim.task] += 1;
                self.be_reborn(process);
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

    /// `execute::spawn`: a new run runs, one that is held already goes on, one of a task whose earlier run is held goes back.
    fn start(&mut self, process: usize, run: Run) {
        let handlers = &self.now.processes[process].handlers;
        if handlers.iter().any(|other| other.held && other.run == run) {
            return;
        }
        let held = !self.now.holds(process, run.task);
        let phase = if held { Phase::Runs } else { Phase::Refused };
        self.add(process, Handler { run, held, phase });
    }

    /// Writes the end of a run that is given back. `Held` lets go of it later, by [`Step::release`].
    pub(crate) fn give_back(&mut self, process: usize, handler: Handler) {
        let worker = self.now.id(process);
        self.end_runs(worker, handler.run, Verdict::GivenBack);
        self.drop_handler(process, handler);
        self.add(
            process,
            Handler {
                phase: Phase::GivenBack,
                ..handler
            },
        );
    }

    /// `Held::remove`: by the run, which need not be the one that ended.
    pub(crate) fn release(&mut self, process: usize, handler: Handler) {
        self.drop_handler(process, handler);
        let handlers = &mut self.now.processes[process].handlers;
        for other in handlers.iter_mut().filter(|other| other.run == handler.run) {
            other.held = false;
        }
        handlers.sort_unstable();
    }

    /// A process that begins: with a new id, holding nothing. Also the way of one that finds itself declared dead.
    pub(crate) fn be_reborn(&mut self, process: usize) {
        self.forget(process);
        let reborn = &mut self.now.processes[process];
        reborn.state = ProcessState::Up;
        reborn.life += 1;
    }

    /// Memory is gone, and so is whoever waited for answers. What was sent goes on.
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

    /// The second half: RENAME. What was pushed meanwhile is lost.
    pub(crate) fn replace(&mut self, leader: usize) {
        if let Some(list) = self.now.leaders[leader].list.take() {
            self.now.list = list;
        }
    }

    /// What a leader does that reads first and decides then.
    pub(crate) fn look(&mut self, leader: usize) {
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
    /// Whether more rows are pending than the list has entries (`has_more_than`).
    pub(crate) fn list_lacks_hints(&self) -> bool {
        let pending = self.tasks.iter().filter(|task| task.is_pending()).count();
        pending > self.list.iter().map(|hints| usize::from(*hints)).sum()
    }

    /// Whether the list has lacked hints for so long that all else has come to rest: nothing is on its way, and no handler
    /// runs whose worker would drop the hint.
    pub(crate) fn list_still_lacks_hints(&self) -> bool {
        let on_the_way = self.claims.iter().any(|claim| claim.at == ClaimAt::Sent)
            || self.pushes.iter().any(|hints| *hints > 0)
            || self.leaders.iter().any(|leader| leader.list.is_some());
        let held = |task: TaskNo| {
            (0..self.processes.len())
                .any(|process| self.processes[process].state == ProcessState::Up && self.holds(process, task))
        };
        let dropped = self
            .tasks
            .iter()
            .enumerate()
            .any(|(task, found)| found.is_pending() && held(task));
        self.list_lacks_hints() && !on_the_way && !dropped
    }
}

impl Leader {
    /// Whether it means to recover something that it saw.
    pub(crate) fn has_seen(&self) -> bool {
        self.seen.contains(&true)
    }
}
