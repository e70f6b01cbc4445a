//! Searches in which every invariant holds in every state under injected faults.

use stateright::{Checker, Model};
use tasker_model::{Config, Fault, Fence, Phase, ProcessState, Protections, Status, System, reaches};

fn holds(config: Config) {
    let properties = config.properties().len();
    let checker = config.checker().spawn_bfs().join();
    assert!(properties >= 6 && checker.is_done());
    checker.assert_properties();
}

#[test]
fn all_holds_for_one_task_whatever_two_faults_strike_under_two_leaders() {
    holds(Config::new(1, &Fault::ALL, 2).leaders(2));
}

#[test]
fn all_holds_for_one_task_whatever_three_stops_and_losses_strike() {
    let faults = [Fault::LoseReply, Fault::Pause, Fault::CrashOfPostgres];
    holds(Config::new(1, &faults, 3));
}

#[test]
#[ignore = "takes a minute on a slow machine"]
fn all_holds_for_one_task_whatever_three_faults_strike() {
    holds(Config::new(1, &Fault::ALL, 3));
}

#[test]
fn all_holds_for_two_tasks_whatever_fault_strikes() {
    holds(Config::new(2, &Fault::ALL, 1));
}

#[test]
fn all_holds_for_two_tasks_whatever_two_losses_strike() {
    holds(Config::new(2, &[Fault::Flush, Fault::LoseReply], 2));
}

#[test]
fn all_holds_for_three_workers_whatever_fault_strikes() {
    holds(Config::new(1, &Fault::ALL, 1).processes(3));
}

#[test]
fn all_holds_when_runs_are_claimed_again_with_run_numbers_that_postgres_lost() {
    let faults = [
        Fault::LoseReply,
        Fault::Release,
        Fault::CrashOfPostgres,
        Fault::Haste,
    ];
    holds(Config::new(1, &faults, 3));
}

#[test]
fn all_holds_for_a_task_that_is_quarantined_or_fails_for_good() {
    holds(Config::new(1, &[Fault::Crash, Fault::Fail], 3).crashes_max(2));
}

#[test]
fn one_live_worker_is_enough() {
    let faults = [Fault::Crash, Fault::Pause, Fault::Flush];
    holds(Config::new(1, &faults, 2).processes(3).without_restarts());
}

#[test]
fn fallback_polls_work_without_the_rebuild_and_the_rebuild_without_them() {
    let faults = [Fault::Flush, Fault::LosePush, Fault::Crash, Fault::LoseReply];
    let polls_alone = Protections {
        rebuild: false,
        ..Protections::ALL
    };
    holds(Config::new(1, &faults, 3).with(polls_alone));
    let event_driven_only = Protections {
        polling_fallback: false,
        ..Protections::ALL
    };
    holds(Config::new(1, &faults, 3).with(event_driven_only).leaders(2));
}

#[test]
fn without_a_crash_of_postgres_the_run_number_alone_would_do_as_a_fence() {
    let faults = [Fault::Crash, Fault::Pause, Fault::LoseReply, Fault::Release];
    let number_alone = Protections {
        fence: Fence::WithoutWorker,
        ..Protections::ALL
    };
    holds(Config::new(1, &faults, 2).with(number_alone));
}

/// Returns true if a handler runs although its run has no worker or another one in the table.
fn has_a_late_writer(system: &System) -> bool {
    let named: Vec<_> = system.running().collect();
    (0..system.processes.len()).any(|process| {
        let worker = system.id(process);
        let mut handlers = system.processes[process].handlers.iter();
        system.processes[process].state == ProcessState::Up
            && handlers.any(|handler| handler.phase == Phase::Runs && !named.contains(&(handler.run, worker)))
    })
}

#[test]
fn the_searches_reach_the_states_they_are_about() {
    assert!(reaches(&Config::new(1, &[Fault::Pause], 1), has_a_late_writer));
    let number_comes_twice = |system: &System| {
        let handlers = |process: usize| {
            system.processes[process]
                .handlers
                .iter()
                .map(|handler| handler.run)
        };
        handlers(0).any(|run| handlers(1).any(|other| other == run))
    };
    assert!(reaches(
        &Config::new(1, &[Fault::CrashOfPostgres], 1),
        number_comes_twice
    ));
    let two_handlers_of_one_run = |system: &System| {
        let handlers = &system.processes[0].handlers;
        handlers.len() == 2 && handlers.iter().all(|handler| handler.phase == Phase::Runs)
    };
    assert!(reaches(
        &Config::new(1, &[Fault::CrashOfPostgres, Fault::Haste], 3),
        two_handlers_of_one_run
    ));
    let quarantined = |system: &System| {
        let row = system.tasks[0].row;
        row.is_some_and(|row| row.status == Status::DeadLetter && row.attempts == 0)
    };
    assert!(reaches(
        &Config::new(1, &[Fault::Crash], 2).crashes_max(2),
        quarantined
    ));
    let two_lists_are_made = |system: &System| {
        system
            .leaders
            .iter()
            .filter(|leader| leader.list.is_some())
            .count()
            == 2
    };
    assert!(reaches(
        &Config::new(1, &[Fault::Flush, Fault::Haste], 2).leaders(2),
        two_lists_are_made
    ));
}

#[test]
fn a_heartbeat_that_overtakes_the_response_to_a_claim_wastes_a_run_without_harm() {
    let config = Config::new(1, &[Fault::Haste], 2);
    assert!(reaches(&config, |system| system
        .violations
        .taken_from_live_worker));
    holds(config);
}
