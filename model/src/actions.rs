//! The actions of servers, workers and leaders, named like the functions of the code, and their conditions.

use crate::config::Config;
use crate::fault::InjectedFault;
use crate::faults::{self, for_each_run, tasks_of};
use crate::state::{Claim, ClaimAt, Handler, Phase, ProcessState, Status, System, TaskNo, WorkerId};
use crate::statements::Step;

/// One step of a server, worker or leader, or a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields are named as in the state")]
pub enum Action {
    /// A server inserts a task and responds to its client.
    Insert { task: TaskNo },
    /// A hint reaches its list, after a submit, a recovery or a release.
    Push { task: TaskNo },
    /// A server promotes a due row to pending.
    Promote { task: TaskNo },
    /// A worker pops a hint and sends a claim for it.
    Pop { process: usize, task: TaskNo },
    /// Postgres executes the claim for a hint.
    Claim { worker: WorkerId, task: TaskNo },
    /// A fallback poll claims a task without a hint.
    ClaimOldest { process: usize, task: TaskNo },
    /// The response to a claim reaches its worker.
    ReceiveClaim { claim: Claim },
    /// A worker writes a result.
    Complete { process: usize, handler: Handler },
    /// A worker releases a run that it could not start.
    EndRuns { process: usize, handler: Handler },
    /// A worker receives the response to a release.
    RemoveInFlight { process: usize, handler: Handler },
    /// A worker requeues a run that the table gives to it and that is not in flight.
    ReclaimLostClaims { process: usize, task: TaskNo },
    /// A worker learns from its heartbeat that it was declared dead, and registers with a new id.
    Heartbeat { process: usize },
    /// A killed process restarts.
    Register { process: usize },
    /// A stopped process resumes.
    Wake { process: usize },
    /// A leader declares an unresponsive worker dead.
    DeclareDead { worker: WorkerId },
    /// A leader that does not decide in its statement reads the runs to recover.
    ReadRuns { leader: usize },
    /// A leader requeues the run of a dead worker.
    Recover { leader: usize, task: TaskNo },
    /// A leader reads the rows for a list that lacks hints.
    Rebuild { leader: usize },
    /// It replaces the old list by the new one.
    Replace { leader: usize },
    /// A fault is injected.
    Inject(InjectedFault),
}

/// Adds all possible actions except faults: those that happen eventually.
pub(crate) fn steps(config: &Config, system: &System, actions: &mut Vec<Action>) {
    steps_of_servers(system, actions);
    for claim in &system.claims {
        let up = system.processes[claim.worker.process].state == ProcessState::Up;
        match claim.at {
            ClaimAt::Sent => actions.push(Action::Claim {
                worker: claim.worker,
                task: claim.task,
            }),
            _ if up => actions.push(Action::ReceiveClaim { claim: *claim }),
            _ => {}
        }
    }
    for (process, found) in system.processes.iter().enumerate() {
        match found.state {
            ProcessState::Up => steps_of_worker(config, system, process, actions),
            ProcessState::Frozen if config.processes_restart => actions.push(Action::Wake { process }),
            ProcessState::Down if config.processes_restart => actions.push(Action::Register { process }),
            ProcessState::Frozen | ProcessState::Down => {}
        }
    }
    for leader in 0..system.leaders.len() {
        steps_of_leader(config, system, leader, actions);
    }
}

fn steps_of_servers(system: &System, actions: &mut Vec<Action>) {
    for (task, found) in system.tasks.iter().enumerate() {
        if !found.acknowledged {
            actions.push(Action::Insert { task });
        }
        if found.row.is_some_and(|row| row.status == Status::RetryScheduled) {
            actions.push(Action::Promote { task });
        }
    }
    actions.extend(tasks_of(&system.pushes).map(|task| Action::Push { task }));
    for (process, found) in system.processes.iter().enumerate() {
        // earlier ids of a process are unresponsive, and so is the current one if the process does not run
        let silent = if found.state == ProcessState::Up {
            found.life
        } else {
            found.life + 1
        };
        actions.extend(
            (0..silent)
                .map(|life| WorkerId { process, life })
                .filter(|worker| !system.is_dead(*worker))
                .map(|worker| Action::DeclareDead { worker }),
        );
    }
}

fn steps_of_worker(config: &Config, system: &System, process: usize, actions: &mut Vec<Action>) {
    let worker = system.id(process);
    if system.is_dead(worker) {
        actions.push(Action::Heartbeat { process });
    }
    if system.claim_of(worker).is_none() {
        actions.extend(tasks_of(&system.list).map(|task| Action::Pop { process, task }));
        let may_poll = config.protections.polling_fallback
            && !(config.protections.claim_checks_liveness && system.is_dead(worker));
        for (task, found) in system.tasks.iter().enumerate() {
            if may_poll && found.is_pending() && !system.has_in_flight(process, task) {
                actions.push(Action::ClaimOldest { process, task });
            }
        }
    }
    for_each_run(system, |of, handler| {
        if of == process {
            actions.push(Action::Complete { process, handler });
        }
    });
    for handler in &system.processes[process].handlers {
        let handler = *handler;
        match handler.phase {
            Phase::Runs => {}
            Phase::Refused => actions.push(Action::EndRuns { process, handler }),
            Phase::Released => actions.push(Action::RemoveInFlight { process, handler }),
        }
    }
    if config.protections.reclaim_lost_claims {
        for (run, _) in system.running().filter(|(_, runner)| *runner == worker) {
            let handlers = &system.processes[process].handlers;
            let in_flight = handlers
                .iter()
                .any(|handler| handler.in_flight && handler.run == run);
            let recent =
                config.protections.reclaim_spares_recent_claims && system.has_claim_response(worker, run);
            if !in_flight && !recent {
                let task = run.task;
                actions.push(Action::ReclaimLostClaims { process, task });
            }
        }
    }
}

fn steps_of_leader(config: &Config, system: &System, leader: usize, actions: &mut Vec<Action>) {
    let found = &system.leaders[leader];
    if found.list.is_some() {
        actions.push(Action::Replace { leader });
    } else if config.protections.rebuild && system.list_still_lacks_hints() {
        actions.push(Action::Rebuild { leader });
    }
    let lost = system
        .running()
        .filter(|(_, worker)| system.is_dead(*worker))
        .map(|(run, _)| run.task);
    if !config.protections.recover_checks_states {
        // without this protection only `declare_dead` recovers runs
    } else if config.protections.recover_is_conditional {
        actions.extend(lost.map(|task| Action::Recover { leader, task }));
    } else if found.has_seen() {
        let seen = found.seen.iter().enumerate().filter(|(_, seen)| **seen);
        actions.extend(seen.map(|(task, _)| Action::Recover { leader, task }));
    } else if lost.count() > 0 {
        actions.push(Action::ReadRuns { leader });
    }
}

/// Adds all possible actions, faults included.
pub(crate) fn all(config: &Config, system: &System, actions: &mut Vec<Action>) {
    steps(config, system, actions);
    faults::injectable(config, system, |fault| actions.push(Action::Inject(fault)));
}

impl Step<'_> {
    /// Applies one action.
    pub(crate) fn take(&mut self, action: Action) {
        match action {
            Action::Insert { task } => self.insert(task),
            Action::Push { task } => {
                self.now.pushes[task] -= 1;
                self.now.list[task] += 1;
            }
            Action::Promote { task } => self.promote(task),
            Action::Pop { process, task } => self.pop(process, task),
            Action::Claim { worker, task } => self.claim(worker, task, false),
            Action::ClaimOldest { process, task } => self.claim(self.now.id(process), task, false),
            Action::ReceiveClaim { claim } => self.receive_claim(claim),
            Action::Complete { process, handler } => {
                self.complete(self.now.id(process), handler.run);
                self.remove_in_flight(process, handler);
            }
            Action::EndRuns { process, handler } => self.release_run(process, handler),
            Action::RemoveInFlight { process, handler } => self.remove_in_flight(process, handler),
            Action::ReclaimLostClaims { process, task } => self.reclaim(process, task),
            Action::Heartbeat { process } | Action::Register { process } => self.re_register(process),
            Action::Wake { process } => self.now.processes[process].state = ProcessState::Up,
            Action::DeclareDead { worker } => self.declare_dead(worker),
            Action::ReadRuns { leader } => self.read_runs(leader),
            Action::Recover { leader, task } => {
                self.now.leaders[leader].seen[task] = false;
                self.recover(task);
            }
            Action::Rebuild { leader } => self.rebuild(leader),
            Action::Replace { leader } => self.replace(leader),
            Action::Inject(fault) => self.inject(fault),
        }
        self.now.leaders.sort_unstable();
    }

    pub(crate) fn reclaim(&mut self, process: usize, task: TaskNo) {
        let worker = self.now.id(process);
        let found = self.now.running().find(|(run, _)| run.task == task);
        if let Some((run, _)) = found {
            self.reclaim_lost_claims(worker, run);
        }
    }
}
