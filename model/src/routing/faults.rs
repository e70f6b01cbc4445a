//! Injected faults, and when each is possible.

use super::actions::Action;
use super::config::{Config, Fault};
use super::state::{At, Duty, Push, Row, System};
use super::step::Step;

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
        Fault::Start | Fault::Stop | Fault::Crash | Fault::LoseReply | Fault::LoseRemoval => {
            faults_of_workers(fault, config, system, add);
        }
        Fault::LosePush | Fault::Release | Fault::Cancel => faults_of_tasks(fault, config, system, add),
        Fault::Flush if !Step::is_empty(system) => add(Action::Flush),
        Fault::Flush => {}
        Fault::LeaderDies | Fault::Haste => {
            for leader in 0..config.leaders {
                let duty = system.leaders[leader];
                let waits = !config.is_at_rest(system) && config.safeguards.comparisons;
                match duty {
                    Duty::None if fault == Fault::Haste && waits => add(Action::HastyRebuild { leader }),
                    Duty::CatchUp { .. } if fault == Fault::Haste => add(Action::HastyCatchUp { leader }),
                    Duty::None => {}
                    _ if fault == Fault::LeaderDies => add(Action::LeaderDies { leader }),
                    _ => {}
                }
            }
        }
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
            (Fault::LoseRemoval, At::Polled(_) | At::Removed) => add(Action::LoseRemoval { worker }),
            _ => {}
        }
    }
}

fn faults_of_tasks(fault: Fault, config: &Config, system: &System, add: &mut impl FnMut(Action)) {
    for task in 0..config.tasks.len() {
        let found = &system.tasks[task];
        match fault {
            Fault::LosePush if found.push != Push::Done => add(Action::LosePush { task }),
            // one command of a task at a time
            Fault::Release if found.row == Row::Running && found.push == Push::Done => {
                add(Action::Release { task });
            }
            Fault::Cancel if found.row == Row::Pending => add(Action::Cancel { task }),
            _ => {}
        }
    }
}
