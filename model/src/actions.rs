//! What can happen, named as the functions of the code are named, and when.

use crate::config::Config;
use crate::faults::{self, Strike, for_each_run, tasks_of};
use crate::state::{Claim, ClaimAt, Handler, Phase, ProcessState, Status, System, TaskNo, WorkerId};
use crate::statements::Step;

/// One step of one of those who take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields are what the state calls them")]
pub enum Action {
    /// A server writes a task and answers its client.
    Insert { task: TaskNo },
    /// A hint reaches its list: after a submit, a recovery or a return.
    Push { task: TaskNo },
    /// A server makes a due row pending.
    Promote { task: TaskNo },
    /// A worker takes a hint off the list and sends a claim for it.
    Pop { process: usize, task: TaskNo },
    /// The claim for a hint takes place.
    Claim { worker: WorkerId, task: TaskNo },
    /// The net: a claim without a hint takes place.
    ClaimOldest { process: usize, task: TaskNo },
    /// The answer to a claim reaches its worker.
    ReceiveClaim { claim: Claim },
    /// A worker writes a result.
    Complete { process: usize, handler: Handler },
    /// A worker gives a run back that it could not begin.
    EndRuns { process: usize, handler: Handler },
    /// A worker learns that what it gave back is written.
    Release { process: usize, handler: Handler },
    /// A worker returns what it runs in the table and does not hold.
    TakeBackUnheld { process: usize, task: TaskNo },
    /// A worker learns from its heartbeat that it is dead, and comes back under a new id.
    Heartbeat { process: usize },
    /// A killed process starts again.
    Register { process: usize },
    /// A stopped process goes on.
    Wake { process: usize },
    /// A leader declares a silent worker dead.
    DeclareDead { worker: WorkerId },
    /// A leader that does not decide in its statement reads what is to be recovered.
    Look { leader: usize },
    /// A leader hands a dead worker's run back.
    Recover { leader: usize, task: TaskNo },
    /// A leader reads the rows for a list that lacks hints.
    Rebuild { leader: usize },
    /// It puts the new list into the place of the old one.
    Replace { leader: usize },
    /// Something goes wrong.
    Strike(Strike),
}

/// Adds everything that happens by itself, sooner or later: all but faults.
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
            ProcessState::Frozen if config.processes_return => actions.push(Action::Wake { process }),
            ProcessState::Down if config.processes_return => actions.push(Action::Register { process }),
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
        // an earlier id is silent, and so is a process that does not run
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
        let may_look =
            config.protections.net && !(config.protections.claim_asks_if_alive && system.is_dead(worker));
        for (task, found) in system.tasks.iter().enumerate() {
            if may_look && found.is_pending() && !system.holds(process, task) {
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
            Phase::GivenBack => actions.push(Action::Release { process, handler }),
        }
    }
    if config.protections.reclaim_lost_claims {
        for (run, _) in system.running().filter(|(_, runner)| *runner == worker) {
            let handlers = &system.processes[process].handlers;
            let held = handlers.iter().any(|handler| handler.held && handler.run == run);
            let young = config.protections.take_back_spares_the_young && system.is_told(worker, run);
            if !held && !young {
                let task = run.task;
                actions.push(Action::TakeBackUnheld { process, task });
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
    if !config.protections.recover_looks_at_states {
        // what `declare_dead` did not take is nobody's
    } else if config.protections.recover_is_conditional {
        actions.extend(lost.map(|task| Action::Recover { leader, task }));
    } else if found.has_seen() {
        let seen = found.seen.iter().enumerate().filter(|(_, seen)| **seen);
        actions.extend(seen.map(|(task, _)| Action::Recover { leader, task }));
    } else if lost.count() > 0 {
        actions.push(Action::Look { leader });
    }
}

/// Adds everything that can happen.
pub(crate) fn all(config: &Config, system: &System, actions: &mut Vec<Action>) {
    steps(config, system, actions);
    faults::strikes(config, system, actions);
}

impl Step<'_> {
    /// Takes one step.
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
                self.release(process, handler);
            }
            Action::EndRuns { process, handler } => self.give_back(process, handler),
            Action::Release { process, handler } => self.release(process, handler),
            Action::TakeBackUnheld { process, task } => self.take_back_of(process, task),
            Action::Heartbeat { process } | Action::Register { process } => self.be_reborn(process),
            Action::Wake { process } => self.now.processes[process].state = ProcessState::Up,
            Action::DeclareDead { worker } => self.declare_dead(worker),
            Action::Look { leader } => self.look(leader),
            Action::Recover { leader, task } => {
                self.now.leaders[leader].seen[task] = false;
                self.recover(task);
            }
            Action::Rebuild { leader } => self.rebuild(leader),
            Action::Replace { leader } => self.replace(leader),
            Action::Strike(strike) => self.strike(strike),
        }
        self.now.leaders.sort_unstable();
    }

    pub(crate) fn take_back_of(&mut self, process: usize, task: TaskNo) {
        let worker = self.now.id(process);
        let found = self.now.running().find(|(run, _)| run.task == task);
        if let Some((run, _)) = found {
            self.reclaim_lost_claims(worker, run);
        }
    }
}
