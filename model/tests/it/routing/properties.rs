//! Searches in which every order of events ends with every task claimed or parked, and with correct lengths.

use tasker_model::routing::{A, At, B, Config, Fault, Flag, Safeguards, Start, len, reaches, search};

use super::{C, CHANGES, full_after_one, growing, late, mixed, up};

fn holds(config: &Config) {
    let outcome = search(config);
    assert!(
        outcome.counterexample.is_none(),
        "of {} states: {:#?}",
        outcome.states,
        outcome.counterexample
    );
}

#[test]
fn a_plain_queue_of_a_mixed_fleet_settles_whatever_loss_is_injected() {
    let losses = [
        Fault::Crash,
        Fault::LosePush,
        Fault::LoseReply,
        Fault::Flush,
        Fault::LeaderDies,
    ];
    let config = mixed(Start::Plain).faults(&losses, 1);
    holds(&config.with(Safeguards::NO_POLLS));
}

#[test]
fn a_split_queue_settles_whatever_fault_is_injected() {
    let config = mixed(Start::Split).faults(&Fault::ALL, 1);
    holds(&config);
    holds(&config.with(Safeguards::NO_POLLS).leaders(2));
}

#[test]
fn a_queue_settles_whatever_two_faults_are_injected_around_one_task() {
    let config = Config::new(&[B], &[up(A), up(B)]).faults(&Fault::ALL, 2);
    holds(&config);
    holds(&config.with(Safeguards::NO_POLLS));
}

#[test]
fn a_type_gains_its_worker_while_a_fault_is_injected() {
    let config = growing(Start::Plain).faults(&Fault::ALL, 1);
    holds(&config);
    let config = Config::new(&[B], &[up(A), late(B)]).faults(&Fault::ALL, 2);
    holds(&config.with(Safeguards::NO_POLLS));
}

#[test]
fn types_that_overlap_settle_whatever_fault_is_injected() {
    let fleet = [up(A), up(A | B)];
    for tasks in [[A, B], [A, C]] {
        let config = Config::new(&tasks, &fleet).start(Start::Split);
        holds(&config.faults(&Fault::ALL, 1).with(Safeguards::NO_POLLS));
    }
}

#[test]
fn lengths_are_right_while_all_workers_of_a_type_are_full() {
    let config = Config::new(&[A, A], &[full_after_one(A), up(B)]).start(Start::Split);
    holds(&config.faults(&Fault::ALL, 1).with(Safeguards::NO_POLLS));
}

#[test]
fn a_task_of_an_unknown_type_is_parked_once_whatever_two_faults_are_injected() {
    let mixed = Config::new(&[C], &[up(A), up(A | B)]).faults(&Fault::ALL, 2);
    holds(&mixed.with(Safeguards::NO_POLLS));
    let uniform = Config::new(&[C, A], &[up(A)]).faults(&Fault::ALL, 2);
    holds(&uniform.with(Safeguards::NO_POLLS));
}

#[test]
fn three_workers_settle_whatever_fault_is_injected() {
    let pair = Config::new(&[B], &[up(A), up(A), up(B)]).start(Start::Plain);
    holds(&pair.faults(&Fault::ALL, 1).with(Safeguards::NO_POLLS));
    // a mixed fleet, beside which a worker of an unknown type starts
    let beside = Config::new(&[C], &[up(A), up(B), late(C)]).start(Start::Plain);
    holds(&beside.faults(&Fault::ALL, 2).with(Safeguards::NO_POLLS));
}

#[test]
fn changes_of_the_fleet_alone_lose_no_hint() {
    for start in [Start::Plain, Start::Split] {
        let config = growing(start).faults(&CHANGES, 2);
        holds(&config.with(Safeguards::NO_REPAIR));
        let config = mixed(start).faults(&CHANGES, 1);
        holds(&config.with(Safeguards::NO_REPAIR));
    }
    // submits while the queue changes, also beside another leader
    let config = Config::new(&[B], &[up(A), up(B)]).faults(&CHANGES, 2);
    holds(&config.clone().with(Safeguards::NO_REPAIR));
    holds(&config.faults(&CHANGES, 1).with(Safeguards::NO_REPAIR).leaders(2));
}

#[test]
fn long_lists_settle_whatever_fault_is_injected() {
    let config = Config::new(&[B], &[up(A), up(B)]).faults(&Fault::ALL, 1);
    holds(&config.with(Safeguards::NO_POLLS).with_long_lists());
    let config = growing(Start::Plain).faults(&CHANGES, 1);
    holds(&config.with(Safeguards::NO_REPAIR).with_long_lists());
}

#[test]
fn in_a_split_queue_lengths_are_right_without_repairs() {
    let config = mixed(Start::Split).with(Safeguards::NO_REPAIR);
    assert!(!reaches(&config, |system| {
        let lengths = [len(&system.main), len(&system.typed)];
        config.is_at_rest(system) && lengths != [system.pending(); 2]
    }));
}

#[test]
#[ignore = "takes five minutes in a release build"]
fn queues_settle_whatever_two_faults_are_injected_around_two_tasks() {
    let pair = Config::new(&[B], &[up(A), up(B)]).faults(&CHANGES, 2);
    holds(&pair.with(Safeguards::NO_REPAIR).leaders(2));
    for start in [Start::Plain, Start::Split] {
        let faults = Fault::ALL;
        holds(&growing(start).faults(&faults, 2));
        holds(
            &growing(start)
                .faults(&faults, 2)
                .with(Safeguards::NO_POLLS)
                .leaders(2),
        );
        holds(&mixed(start).faults(&faults, 1).leaders(2));
        holds(&mixed(start).faults(&faults, 2).with(Safeguards::NO_POLLS));
        holds(
            &growing(start)
                .faults(&CHANGES, 2)
                .with(Safeguards::NO_REPAIR)
                .leaders(2),
        );
    }
    let full = Config::new(&[A, A, B], &[full_after_one(A), up(B)]).start(Start::Split);
    holds(&full.faults(&Fault::ALL, 1).with(Safeguards::NO_POLLS));
}

#[test]
fn the_searches_reach_the_states_they_are_about() {
    let config = growing(Start::Plain)
        .faults(&CHANGES, 2)
        .with(Safeguards::NO_POLLS);
    for flag in [Flag::Opening, Flag::Split, Flag::Closing] {
        assert!(reaches(&config, |system| system.flag == flag));
    }
    assert!(reaches(&config, |system| len(&system.parked) == 1));
    assert!(reaches(&config, |system| {
        // a worker that blocked on the main list takes from it although the queue is split
        matches!(system.workers[0].at, At::Popped { .. })
            && system.flag == Flag::Split
            && len(&system.main) < len(&system.typed)
    }));
}
