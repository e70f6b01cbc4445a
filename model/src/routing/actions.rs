//! The events, and when each is possible.

use super::config::Config;
use super::state::{At, Duty, Flag, Push, Row, System, Task, TaskNo, WorkerNo, ids, len};

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named as in the state")]
pub enum Action {
    /// A server writes a row.
    Submit { task: TaskNo },
    /// First round trip of a push. `assumed`: it includes the type list.
    Push { task: TaskNo, assumed: bool },
    /// Second round trip of a push.
    PushType { task: TaskNo },
    /// A server removes a cancelled id; in a split queue it takes `main` from the main list.
    RemoveCancelled { task: TaskNo, main: Option<TaskNo> },
    /// A blocked worker of a plain queue pops the main list.
    PopMain { worker: WorkerNo, task: TaskNo },
    /// The pop script takes an id from a type list, and `main` from the main list.
    PopType {
        worker: WorkerNo,
        task: TaskNo,
        main: TaskNo,
    },
    /// A blocked worker of a split queue pops a type list.
    PopBlocked { worker: WorkerNo, task: TaskNo },
    /// It takes an id from the main list.
    PayMain { worker: WorkerNo, main: Option<TaskNo> },
    /// A pop ends without an id and returns the flag.
    See { worker: WorkerNo },
    /// A worker claims a popped id.
    Claim { worker: WorkerNo },
    /// A worker hands a misrouted id back.
    Return { worker: WorkerNo },
    /// A worker claims from the table.
    Poll { worker: WorkerNo, task: TaskNo },
    /// It removes the polled id.
    Remove { worker: WorkerNo },
    /// A leader declares a killed worker dead.
    DeclareDead { worker: WorkerNo },
    /// A leader finds that a duty is due.
    Begin { leader: usize, duty: Duty },
    /// A leader compares lengths with rows and finds that lists must be made.
    Rebuild { leader: usize },
    /// A leader takes the next step of its duty; `main` leaves the main list where one has to.
    Go { leader: usize, main: Option<TaskNo> },
    /// A worker starts.
    Start { worker: WorkerNo },
    /// A worker stops and removes its row.
    Stop { worker: WorkerNo },
    /// A worker is killed.
    Crash { worker: WorkerNo },
    /// A server dies before a round trip.
    LosePush { task: TaskNo },
    /// The answer that returned a misrouted id is lost.
    LoseReply { worker: WorkerNo },
    /// The removal of a polled id is lost.
    LoseRemoval { worker: WorkerNo },
    /// Redis is emptied.
    Flush,
    /// A leader dies.
    LeaderDies { leader: usize },
    /// A run is released.
    Release { task: TaskNo },
    /// A pending task is cancelled.
    Cancel { task: TaskNo },
    /// A rebuild begins while something is in flight.
    HastyRebuild { leader: usize },
    /// A catch-up does not wait for pushes in flight.
    HastyCatchUp { leader: usize },
}

/// Adds everything that happens by itself sooner or later: all but faults.
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
    for leader in 0..config.leaders {
        if system.leaders[leader] == Duty::None {
            config.duties(system, &mut |duty| add(Action::Begin { leader, duty }));
            if config.safeguards.comparisons && config.is_at_rest(system) {
                config.repairs(system, leader, add);
            }
        } else {
            steps_of_leader(system, leader, add);
        }
    }
}

fn steps_of_task(system: &System, task: TaskNo, add: &mut impl FnMut(Action)) {
    let found = &system.tasks[task];
    if found.row == Row::Absent {
        add(Action::Submit { task });
    }
    match found.push {
        Push::Done => {}
        Push::First => {
            add(Action::Push { task, assumed: false });
            add(Action::Push { task, assumed: true });
        }
        Push::Second => add(Action::PushType { task }),
        Push::Remove if system.flag.is_split() => {
            any_of_main(system, |main| add(Action::RemoveCancelled { task, main }));
        }
        Push::Remove => add(Action::RemoveCancelled { task, main: None }),
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
        At::Popped(_) => add(Action::Claim { worker }),
        At::Owes(_) | At::Removed if system.flag.is_split() || !config.safeguards.pop_reads_flag => {
            any_of_main(system, |main| add(Action::PayMain { worker, main }));
        }
        At::Owes(_) | At::Removed => add(Action::PayMain { worker, main: None }),
        At::Misrouted { .. } => add(Action::Return { worker }),
        At::Polled(_) => add(Action::Remove { worker }),
    }
}

fn pops(config: &Config, system: &System, worker: WorkerNo, add: &mut impl FnMut(Action)) {
    if !system.workers[worker].sees_split {
        ids(&system.main).for_each(|task| add(Action::PopMain { worker, task }));
        return;
    }
    // a script that reads the flag takes from split queues only
    let script = system.flag.is_split() || !config.safeguards.pop_reads_flag;
    for task in ids(&system.typed).filter(|task| config.knows(worker, *task)) {
        add(Action::PopBlocked { worker, task });
        if script {
            ids(&system.main).for_each(|main| add(Action::PopType { worker, task, main }));
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

fn steps_of_leader(system: &System, leader: usize, add: &mut impl FnMut(Action)) {
    match system.leaders[leader] {
        Duty::CatchUp { read } if may_miss(system, read) => {}
        Duty::Park { .. } => any_of_main(system, |main| add(Action::Go { leader, main })),
        _ => add(Action::Go { leader, main: None }),
    }
}

/// Returns whether a hint is in flight of a row that was not read.
fn may_miss(system: &System, read: u8) -> bool {
    let unread = |(task, found): (usize, &Task)| {
        read & (1 << task) == 0 && matches!(found.push, Push::First | Push::Second)
    };
    system.tasks.iter().enumerate().any(unread)
}

/// Calls `add` for each id that a pop of the main list may return.
fn any_of_main(system: &System, mut add: impl FnMut(Option<TaskNo>)) {
    if len(&system.main) == 0 {
        add(None);
    }
    ids(&system.main).for_each(|main| add(Some(main)));
}

impl Config {
    /// Returns whether nothing is in flight, so that a comparison finds in two passes what it found in one.
    pub fn is_at_rest(&self, system: &System) -> bool {
        system.tasks.iter().all(|task| task.push == Push::Done)
            && system.workers.iter().all(|worker| worker.at == At::Idle)
            && system.leaders.iter().all(|duty| *duty == Duty::None)
    }

    /// Adds what a comparison of lengths finds.
    fn repairs(&self, system: &System, leader: usize, add: &mut impl FnMut(Action)) {
        let expected = system.pending().saturating_sub(len(&system.parked));
        let length = len(&system.main);
        match system.flag {
            Flag::Absent if length > expected => {
                let stale = (0..self.tasks.len()).filter(|task| !system.is_pending(*task));
                let stale = stale.fold(0, |bits, task| bits | 1 << task);
                let finds = |task: TaskNo| system.main[task] > u8::from(stale & (1 << task) == 0);
                if (0..self.tasks.len()).any(finds) {
                    let duty = Duty::Trim { stale };
                    add(Action::Begin { leader, duty });
                } else {
                    add(Action::Rebuild { leader });
                }
            }
            Flag::Absent if length < expected => add(Action::Rebuild { leader }),
            Flag::Split if length != expected || len(&system.typed) != length => {
                add(Action::Rebuild { leader });
            }
            _ => {}
        }
    }
}
