//! Injected faults and their conditions.

use super::actions::Action;
use super::config::{Config, Fault};
use super::state::{At, Duty, Flag, Push, Row, System, Why, len};

/// Adds the faults that are possible now.
pub(crate) fn faults(config: &Config, system: &System, add: &mut impl FnMut(Action)) {
    if system.faults_left == 0 {
        return;
    }
    for fault in &config.faults {
        faults_of_kind(*fault, config, system, add);
    }
}

fn faults_of_kind(fault: Fault, config: &Config, system: &System, add: &mut impl FnMut(Action)) {
    match fault {
        Fault::LosePush | Fault::Release | Fault::Cancel => faults_of_tasks(fault, config, system, add),
        Fault::Flush if is_empty(system) => {}
        Fault::Flush => add(Action::Flush),
        Fault::LeaderDies | Fault::Haste => {
            for leader in 0..config.leaders {
                faults_of_leader(fault, config, system, leader, add);
            }
        }
        _ => faults_of_workers(fault, config, system, add),
    }
}

/// Returns true if a flush would have no effect.
fn is_empty(system: &System) -> bool {
    len(&system.main) + len(&system.typed) + len(&system.parked) == 0 && system.flag == Flag::Absent
}

fn faults_of_leader(
    fault: Fault,
    config: &Config,
    system: &System,
    leader: usize,
    add: &mut impl FnMut(Action),
) {
    let compares = config.safeguards.comparisons;
    match (system.leaders[leader], fault) {
        (Duty::None, Fault::Haste) if compares => {
            for duty in [Config::rebuild(system), Duty::Sweep(Why::Exceeds)] {
                add(Action::HastyDuty { leader, duty });
            }
        }
        (Duty::None, _) => {}
        (Duty::CatchUp { .. }, Fault::Haste) => add(Action::HastyCatchUp { leader }),
        (_, Fault::LeaderDies) => add(Action::LeaderDies { leader }),
        _ => {}
    }
}

fn faults_of_workers(fault: Fault, config: &Config, system: &System, add: &mut impl FnMut(Action)) {
    for worker in 0..config.workers.len() {
        let found = &system.workers[worker];
        match (fault, found.at) {
            (Fault::Start, _) if !found.up && !found.registered => add(Action::Start { worker }),
            (Fault::Stop, At::Idle) if found.up => add(Action::Stop { worker }),
            (Fault::Crash, _) if found.up => add(Action::Crash { worker }),
            (Fault::LoseReply, At::Misrouted { .. }) => add(Action::LoseReply { worker }),
            (Fault::LoseRemoval, At::Polled(_)) => add(Action::LoseRemoval { worker }),
            (Fault::Miss, At::Polled(_)) => add(Action::Miss { worker }),
            (Fault::Refuse, At::Popped { .. }) => add(Action::Refuse { worker }),
            _ => {}
        }
    }
}

fn faults_of_tasks(fault: Fault, config: &Config, system: &System, add: &mut impl FnMut(Action)) {
    for task in 0..config.tasks.len() {
        let found = &system.tasks[task];
        match fault {
            Fault::LosePush if found.push != Push::Done => add(Action::LosePush { task }),
            // only one command of a task may be outstanding
            Fault::Release if found.row == Row::Running && found.push == Push::Done => {
                add(Action::Release { task });
            }
            Fault::Cancel if found.row == Row::Pending => add(Action::Cancel { task }),
            _ => {}
        }
    }
}
