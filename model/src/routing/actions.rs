//! The events of the model and their conditions.

use super::config::Config;
use super::state::{At, Duty, Push, Row, System, TaskNo, WorkerNo, ids, len};

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named as in the state")]
pub enum Action {
    /// A server writes a row.
    Submit { task: TaskNo },
    /// A server pushes a hint.
    Push { task: TaskNo },
    /// A server removes a cancelled id.
    RemoveCancelled { task: TaskNo },
    /// A worker pops the main list.
    PopMain { worker: WorkerNo, task: TaskNo },
    /// The pop script takes an id from a type list.
    PopType { worker: WorkerNo, task: TaskNo },
    /// A worker that blocks on type lists pops one.
    PopBlocked { worker: WorkerNo, task: TaskNo },
    /// A worker balances the lists after a blocking pop.
    Balance { worker: WorkerNo },
    /// A pop ends without an id and returns the flag.
    See { worker: WorkerNo },
    /// A worker claims a popped id.
    Claim { worker: WorkerNo },
    /// A worker hands a misrouted id back.
    Return { worker: WorkerNo },
    /// A worker claims from the table.
    Poll { worker: WorkerNo, task: TaskNo },
    /// A worker removes the polled id.
    Remove { worker: WorkerNo },
    /// A leader declares a killed worker dead.
    DeclareDead { worker: WorkerNo },
    /// A leader finds that a duty is due.
    Begin { leader: usize, duty: Duty },
    /// A leader takes the next step of its duty.
    Go { leader: usize },
    /// A leader balances the lists.
    BalanceAll,
    /// A worker starts.
    Start { worker: WorkerNo },
    /// A worker stops and removes its row.
    Stop { worker: WorkerNo },
    /// A worker is killed.
    Crash { worker: WorkerNo },
    /// A server dies before it pushes or removes.
    LosePush { task: TaskNo },
    /// The response that returned a misrouted id is lost.
    LoseReply { worker: WorkerNo },
    /// A worker puts back what it popped.
    Refuse { worker: WorkerNo },
    /// The removal of a polled id is lost.
    LoseRemoval { worker: WorkerNo },
    /// The removal of a polled id does not scan far enough.
    Miss { worker: WorkerNo },
    /// Redis is emptied.
    Flush,
    /// A leader dies.
    LeaderDies { leader: usize },
    /// A run is released.
    Release { task: TaskNo },
    /// A pending task is cancelled.
    Cancel { task: TaskNo },
    /// A comparison triggers a duty although messages are in flight.
    HastyDuty { leader: usize, duty: Duty },
    /// A catch-up does not wait for pushes in flight.
    HastyCatchUp { leader: usize },
}

/// Adds all possible events except faults: those that happen eventually.
pub(crate) fn steps(config: &Config, system: &System, add: &mut impl FnMut(Action)) {
    for task in 0..config.tasks.len() {
        steps_of_task(system, task, add);
    }
    for worker in 0..config.workers.len() {
        let found = &system.workers[worker];
        if found.registered && !found.up {
            add(Action::DeclareDead { worker });
        }
        if found.up {
            steps_of_worker(config, system, worker, add);
        }
    }
    config.leader_steps(system, add);
}

fn steps_of_task(system: &System, task: TaskNo, add: &mut impl FnMut(Action)) {
    let found = &system.tasks[task];
    if found.row == Row::Absent {
        add(Action::Submit { task });
    }
    match found.push {
        Push::Done => {}
        Push::Due => add(Action::Push { task }),
        Push::Remove => add(Action::RemoveCancelled { task }),
    }
}

fn steps_of_worker(config: &Config, system: &System, worker: WorkerNo, add: &mut impl FnMut(Action)) {
    let found = &system.workers[worker];
    match found.at {
        At::Idle => {
            if found.sees_split != system.flag.is_split() {
                add(Action::See { worker });
            }
            if found.slots > 0 {
                pops(config, system, worker, add);
                polls(config, system, worker, add);
            }
        }
        At::Popped { .. } => add(Action::Claim { worker }),
        At::Owes(_) => add(Action::Balance { worker }),
        At::Misrouted { .. } => add(Action::Return { worker }),
        At::Polled(_) => add(Action::Remove { worker }),
    }
}

fn pops(config: &Config, system: &System, worker: WorkerNo, add: &mut impl FnMut(Action)) {
    let found = &system.workers[worker];
    let safeguards = config.safeguards;
    // the script reads the state; the keys of a blocking pop depend on the last reply
    let script_takes_types = system.flag.is_split() || !safeguards.pop_reads_state;
    if !found.sees_split || !script_takes_types {
        let waits = safeguards.misroute_pauses && found.paused != 0 && config.leader_moves(system);
        let pauses = |task: TaskNo| waits && found.paused >> task & 1 != 0;
        let popped = ids(&system.main).filter(|task| !pauses(*task));
        popped.for_each(|task| add(Action::PopMain { worker, task }));
    }
    if found.sees_split {
        for task in ids(&system.typed).filter(|task| config.knows(worker, *task)) {
            add(Action::PopBlocked { worker, task });
            if script_takes_types && len(&system.main) > 0 {
                add(Action::PopType { worker, task });
            }
        }
    }
}

fn polls(config: &Config, system: &System, worker: WorkerNo, add: &mut impl FnMut(Action)) {
    for task in 0..config.tasks.len() {
        if config.safeguards.polls && system.is_pending(task) && config.knows(worker, task) {
            add(Action::Poll { worker, task });
        }
    }
}
