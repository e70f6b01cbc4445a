//! What goes wrong. A search lets a bounded number of faults strike, at any moment and in any mixture.

use crate::actions::Action;
use crate::config::Config;
use crate::state::{
    Claim, ClaimAt, Handler, Phase, ProcessState, Row, Status, System, TaskNo, Unflushed, WorkerId,
};
use crate::statements::{Step, Verdict};

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A push to Redis fails, or its server dies before it.
    LosePush,
    /// The answer to a claim or a completion is lost; the statement took effect.
    LoseReply,
    /// `FLUSHALL`.
    Flush,
    /// `kill -9` of a worker.
    Crash,
    /// SIGSTOP of a worker, and SIGCONT at any later moment.
    Pause,
    /// Postgres crashes: asynchronous commits since the last durable one may be lost, the latest first.
    CrashOfPostgres,
    /// A worker gives a run back.
    GiveBack,
    /// A handler fails.
    Fail,
    /// A claim read that its worker is alive just before it was declared dead.
    OldSnapshot,
    /// A timer fires before what it waits for: a heartbeat while the answer to a claim is on its way, the net while an
    /// earlier run is held, a rebuild while hints are on their way.
    Haste,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::LosePush,
        Self::LoseReply,
        Self::Flush,
        Self::Crash,
        Self::Pause,
        Self::CrashOfPostgres,
        Self::GiveBack,
        Self::Fail,
        Self::OldSnapshot,
        Self::Haste,
    ];
}

/// A fault, and where it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the fields are what the state calls them; the variants are explained at `Fault`"
)]
pub enum Strike {
    /// The hint is lost on its way.
    LosePush { task: TaskNo },
    /// The worker never learns what it claimed.
    LoseReplyOfClaim { claim: Claim },
    /// The worker completes, does not learn it, and will write it again.
    LoseReplyOfComplete { process: usize, handler: Handler },
    /// All lists are gone.
    Flush,
    /// The process is gone; with `mid_claim` its last statement is not.
    Crash { process: usize, mid_claim: bool },
    /// The process is stopped.
    Pause { process: usize },
    /// So many commits are undone. Answers on their way arrive or not.
    CrashOfPostgres { lost: usize, with_answers: bool },
    /// `end_runs`, as a worker that stops sends it.
    GiveBack { process: usize, handler: Handler },
    /// `end_runs` of a failed attempt.
    Fail { process: usize, handler: Handler },
    /// `claim` of a worker that was declared dead since the snapshot.
    ClaimOnOldSnapshot { worker: WorkerId, task: TaskNo },
    /// `reclaim_lost_claims` while the answer to the claim is on its way.
    HastyTakeBack { process: usize, task: TaskNo },
    /// `claim_oldest` of a task of which this worker holds an earlier run.
    HastyLook { process: usize, task: TaskNo },
    /// `rebuild` while hints are on their way.
    HastyRebuild { leader: usize },
}

/// Adds the faults that can strike now.
pub(crate) fn strikes(config: &Config, system: &System, actions: &mut Vec<Action>) {
    if system.faults_left == 0 {
        return;
    }
    for fault in &config.faults {
        strikes_of(*fault, config, system, &mut |strike| {
            actions.push(Action::Strike(strike));
        });
    }
}

fn strikes_of(fault: Fault, config: &Config, system: &System, add: &mut impl FnMut(Strike)) {
    match fault {
        Fault::LosePush => tasks_of(&system.pushes).for_each(|task| add(Strike::LosePush { task })),
        Fault::Flush if system.list.iter().any(|hints| *hints > 0) => add(Strike::Flush),
        Fault::Flush => {}
        Fault::LoseReply => {
            let answered = |claim: &&Claim| matches!(claim.at, ClaimAt::Took(_));
            for claim in system.claims.iter().filter(answered) {
                add(Strike::LoseReplyOfClaim { claim: *claim });
            }
            for_each_run(system, |process, handler| {
                add(Strike::LoseReplyOfComplete { process, handler });
            });
        }
        Fault::GiveBack => for_each_run(system, |process, handler| {
            add(Strike::GiveBack { process, handler });
        }),
        Fault::Fail => for_each_run(system, |process, handler| add(Strike::Fail { process, handler })),
        Fault::Crash | Fault::Pause => strikes_of_processes(fault, system, add),
        Fault::CrashOfPostgres => {
            let least = usize::from(system.claims.is_empty());
            for lost in least..=system.unflushed.len() {
                for with_answers in [false, true] {
                    add(Strike::CrashOfPostgres { lost, with_answers });
                }
            }
        }
        Fault::OldSnapshot => {
            for claim in system.claims.iter().filter(|claim| claim.at == ClaimAt::Sent) {
                if system.is_dead(claim.worker) {
                    add(Strike::ClaimOnOldSnapshot {
                        worker: claim.worker,
                        task: claim.task,
                    });
                }
            }
        }
        Fault::Haste => hasty(config, system, add),
    }
}

fn strikes_of_processes(fault: Fault, system: &System, add: &mut impl FnMut(Strike)) {
    for (process, found) in system.processes.iter().enumerate() {
        if fault == Fault::Pause && found.state == ProcessState::Up {
            add(Strike::Pause { process });
        }
        if fault == Fault::Crash && found.state != ProcessState::Down {
            add(Strike::Crash {
                process,
                mid_claim: false,
            });
            let sent = system.claim_of(system.id(process));
            if sent.is_some_and(|claim| claim.at == ClaimAt::Sent) {
                add(Strike::Crash {
                    process,
                    mid_claim: true,
                });
            }
        }
    }
}

fn hasty(config: &Config, system: &System, add: &mut impl FnMut(Strike)) {
    for (run, worker) in system.running() {
        let process = worker.process;
        if system
            .process_of(worker)
            .is_some_and(|found| found.state == ProcessState::Up)
            && config.protections.reclaim_lost_claims
            && system.is_told(worker, run)
        {
            let task = run.task;
            add(Strike::HastyTakeBack { process, task });
        }
    }
    for process in 0..system.processes.len() {
        let worker = system.id(process);
        let idle = system.processes[process].state == ProcessState::Up && system.claim_of(worker).is_none();
        for (task, found) in system.tasks.iter().enumerate() {
            if config.protections.net && idle && found.is_pending() && system.holds(process, task) {
                add(Strike::HastyLook { process, task });
            }
        }
    }
    for (leader, found) in system.leaders.iter().enumerate() {
        if config.protections.rebuild && found.list.is_none() && system.list_lacks_hints() {
            add(Strike::HastyRebuild { leader });
        }
    }
}

/// The tasks that have hints here.
pub(crate) fn tasks_of(hints: &[u8]) -> impl Iterator<Item = TaskNo> + '_ {
    hints
        .iter()
        .enumerate()
        .filter_map(|(task, hints)| (*hints > 0).then_some(task))
}

/// Every handler that runs in a process that runs.
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
    /// Lets a fault strike.
    pub(crate) fn strike(&mut self, strike: Strike) {
        self.now.faults_left -= 1;
        match strike {
            Strike::LosePush { task } => self.now.pushes[task] -= 1,
            Strike::LoseReplyOfClaim { claim } => self.now.claims.retain(|other| *other != claim),
            Strike::LoseReplyOfComplete { process, handler } => {
                let worker = self.now.id(process);
                self.complete(worker, handler.run);
            }
            Strike::Flush => self.now.list.fill(0),
            Strike::Crash { process, mid_claim } => {
                self.forget(process);
                let worker = self.now.id(process);
                self.now
                    .claims
                    .retain(|claim| mid_claim || claim.worker != worker);
                self.now.processes[process].state = ProcessState::Down;
            }
            Strike::Pause { process } => self.now.processes[process].state = ProcessState::Frozen,
            Strike::CrashOfPostgres { lost, with_answers } => self.crash_postgres(lost, with_answers),
            Strike::GiveBack { process, handler } => self.give_back(process, handler),
            Strike::Fail { process, handler } => {
                let worker = self.now.id(process);
                self.end_runs(worker, handler.run, Verdict::Failed);
                self.release(process, handler);
            }
            Strike::ClaimOnOldSnapshot { worker, task } => self.claim(worker, task, true),
            Strike::HastyTakeBack { process, task } => self.take_back_of(process, task),
            Strike::HastyLook { process, task } => self.claim(self.now.id(process), task, false),
            Strike::HastyRebuild { leader } => self.rebuild(leader),
        }
    }

    fn crash_postgres(&mut self, lost: usize, with_answers: bool) {
        for _ in 0..lost {
            if let Some(commit) = self.now.unflushed.pop() {
                self.undo(commit);
            }
        }
        // what was not undone is on the disk: recovery ends with a checkpoint
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
