//! The faults that are possible in a state, and their effects. A search injects a bounded number of them, at
//! any moment and in any mixture.

use crate::config::Config;
use crate::fault::{Fault, InjectedFault};
use crate::state::{Claim, ClaimAt, Handler, Phase, ProcessState, Row, Status, System, TaskNo, Unflushed};
use crate::statements::{Step, Verdict};

/// Adds the faults that are possible now.
pub(crate) fn injectable(config: &Config, system: &System, mut add: impl FnMut(InjectedFault)) {
    if system.faults_left == 0 {
        return;
    }
    for fault in &config.faults {
        injectable_of_kind(*fault, config, system, &mut add);
    }
}

fn injectable_of_kind(fault: Fault, config: &Config, system: &System, add: &mut impl FnMut(InjectedFault)) {
    match fault {
        Fault::LosePush => tasks_of(&system.pushes).for_each(|task| add(InjectedFault::LosePush { task })),
        Fault::Flush if system.list.iter().any(|hints| *hints > 0) => add(InjectedFault::Flush),
        Fault::Flush => {}
        Fault::LoseReply => {
            let answered = |claim: &&Claim| matches!(claim.at, ClaimAt::Took(_));
            for claim in system.claims.iter().filter(answered) {
                add(InjectedFault::LoseReplyOfClaim { claim: *claim });
            }
            for_each_run(system, |process, handler| {
                add(InjectedFault::LoseReplyOfComplete { process, handler });
            });
        }
        Fault::Release => for_each_run(system, |process, handler| {
            add(InjectedFault::Release { process, handler });
        }),
        Fault::Fail => for_each_run(system, |process, handler| {
            add(InjectedFault::Fail { process, handler });
        }),
        Fault::Crash | Fault::Pause => injectable_in_processes(fault, system, add),
        Fault::CrashOfPostgres => {
            // with claims in flight a crash has an effect even if it undoes no commit: it loses them
            let least = usize::from(system.claims.is_empty());
            for lost in least..=system.unflushed.len() {
                for with_answers in [false, true] {
                    add(InjectedFault::CrashOfPostgres { lost, with_answers });
                }
            }
        }
        Fault::OldSnapshot => {
            for claim in system.claims.iter().filter(|claim| claim.at == ClaimAt::Sent) {
                if system.is_dead(claim.worker) {
                    add(InjectedFault::ClaimOnOldSnapshot {
                        worker: claim.worker,
                        task: claim.task,
                    });
                }
            }
        }
        Fault::Haste => early_timers(config, system, add),
    }
}

fn injectable_in_processes(fault: Fault, system: &System, add: &mut impl FnMut(InjectedFault)) {
    for (process, found) in system.processes.iter().enumerate() {
        if fault == Fault::Pause && found.state == ProcessState::Up {
            add(InjectedFault::Pause { process });
        }
        if fault == Fault::Crash && found.state != ProcessState::Down {
            add(InjectedFault::Crash {
                process,
                mid_claim: false,
            });
            let sent = system.claim_of(system.id(process));
            if sent.is_some_and(|claim| claim.at == ClaimAt::Sent) {
                add(InjectedFault::Crash {
                    process,
                    mid_claim: true,
                });
            }
        }
    }
}

fn early_timers(config: &Config, system: &System, add: &mut impl FnMut(InjectedFault)) {
    for (run, worker) in system.running() {
        let process = worker.process;
        if system
            .process_of(worker)
            .is_some_and(|found| found.state == ProcessState::Up)
            && config.protections.reclaim_lost_claims
            && system.has_claim_response(worker, run)
        {
            let task = run.task;
            add(InjectedFault::HastyReclaim { process, task });
        }
    }
    for process in 0..system.processes.len() {
        let worker = system.id(process);
        let idle = system.processes[process].state == ProcessState::Up && system.claim_of(worker).is_none();
        for (task, found) in system.tasks.iter().enumerate() {
            if config.protections.polling_fallback
                && idle
                && found.is_pending()
                && system.has_in_flight(process, task)
            {
                add(InjectedFault::HastyPoll { process, task });
            }
        }
    }
    for (leader, found) in system.leaders.iter().enumerate() {
        if config.protections.rebuild && found.list.is_none() && system.list_lacks_hints() {
            add(InjectedFault::HastyRebuild { leader });
        }
    }
}

/// Returns the tasks with at least one hint.
pub(crate) fn tasks_of(hints: &[u8]) -> impl Iterator<Item = TaskNo> + '_ {
    hints
        .iter()
        .enumerate()
        .filter_map(|(task, hints)| (*hints > 0).then_some(task))
}

/// Calls `each` with every running handler of running processes.
pub(crate) fn for_each_run(system: &System, mut each: impl FnMut(usize, Handler)) {
    for (process, found) in system.processes.iter().enumerate() {
        let runs = found
            .handlers
            .iter()
            .filter(|handler| handler.phase == Phase::Runs);
        if found.state == ProcessState::Up {
            runs.for_each(|handler| each(process, *handler));
        }
    }
}

impl Step<'_> {
    /// Applies a fault.
    pub(crate) fn inject(&mut self, fault: InjectedFault) {
        self.now.faults_left -= 1;
        match fault {
            InjectedFault::LosePush { task } => self.now.pushes[task] -= 1,
            InjectedFault::LoseReplyOfClaim { claim } => self.now.claims.retain(|other| *other != claim),
            InjectedFault::LoseReplyOfComplete { process, handler } => {
                let worker = self.now.id(process);
                self.complete(worker, handler.run);
            }
            InjectedFault::Flush => self.now.list.fill(0),
            InjectedFault::Crash { process, mid_claim } => {
                self.forget(process);
                let worker = self.now.id(process);
                self.now
                    .claims
                    .retain(|claim| mid_claim || claim.worker != worker);
                self.now.processes[process].state = ProcessState::Down;
            }
            InjectedFault::Pause { process } => self.now.processes[process].state = ProcessState::Frozen,
            InjectedFault::CrashOfPostgres { lost, with_answers } => self.crash_postgres(lost, with_answers),
            InjectedFault::Release { process, handler } => self.release_run(process, handler),
            InjectedFault::Fail { process, handler } => {
                let worker = self.now.id(process);
                self.end_runs(worker, handler.run, Verdict::Failed);
                self.remove_in_flight(process, handler);
            }
            InjectedFault::ClaimOnOldSnapshot { worker, task } => self.claim(worker, task, true),
            InjectedFault::HastyReclaim { process, task } => self.reclaim(process, task),
            InjectedFault::HastyPoll { process, task } => self.claim(self.now.id(process), task, false),
            InjectedFault::HastyRebuild { leader } => self.rebuild(leader),
        }
    }

    fn crash_postgres(&mut self, lost: usize, with_answers: bool) {
        for _ in 0..lost {
            if let Some(commit) = self.now.unflushed.pop() {
                self.undo(commit);
            }
        }
        // the remaining commits are on disk now: crash recovery ends with a checkpoint
        self.now.unflushed.clear();
        self.now
            .claims
            .retain(|claim| with_answers && claim.at != ClaimAt::Sent);
    }

    fn undo(&mut self, commit: Unflushed) {
        match commit {
            Unflushed::Insert(task) => self.now.tasks[task].row = None,
            Unflushed::Claim(task) => {
                if let Some(row) = &mut self.now.tasks[task].row {
                    row.runs -= 1;
                    row.leave(Status::Pending);
                }
            }
            Unflushed::Complete(task, worker) => {
                let task = &mut self.now.tasks[task];
                task.row = task.finished.pop().map(|row| Row {
                    status: Status::Running,
                    attempts: row.attempts - 1,
                    worker,
                    ..row
                });
            }
        }
    }
}
