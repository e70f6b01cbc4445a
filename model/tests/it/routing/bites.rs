//! What goes wrong when a safeguard is removed.

use tasker_model::routing::{
    A, Action, B, Config, Counterexample, Duty, Fault, Safeguards, Start, Wrong, len, reaches, search,
};

use super::{C, full_after_one, growing, late, mixed, up};

const NO_POLLS: Safeguards = Safeguards::NO_POLLS;
const NO_REPAIR: Safeguards = Safeguards::NO_REPAIR;

fn counterexample(config: &Config) -> Counterexample {
    search(config)
        .counterexample
        .expect("a search without the safeguard finds a counterexample")
}

fn finds(config: &Config, wrong: Wrong) -> Vec<Action> {
    let found = counterexample(config);
    assert_eq!(found.wrong, wrong, "{:#?}", found.events);
    found.events
}

#[test]
fn without_polls_and_comparisons_a_flush_leaves_a_task_waiting() {
    let config = Config::new(&[A], &[up(A)])
        .start(Start::Plain)
        .faults(&[Fault::Flush], 1);
    let events = finds(&config.with(NO_REPAIR), Wrong::Waits);
    assert!(events.contains(&Action::Flush), "{events:#?}");
}

#[test]
fn a_misroute_that_only_pushes_back_goes_round_in_a_circle() {
    let safeguards = Safeguards {
        misroute_splits: false,
        ..NO_REPAIR
    };
    let events = finds(&mixed(Start::Plain).with(safeguards).leaders(0), Wrong::Circle);
    assert!(events.contains(&Action::Return { worker: 0 }), "{events:#?}");
}

#[test]
fn a_misroute_that_fills_no_type_list_leaves_its_task_to_the_leader() {
    let safeguards = Safeguards {
        misroute_fills_type: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[B], &[up(A), up(B)]).start(Start::Plain);
    finds(&config.with(safeguards).leaders(0), Wrong::Waits);
}

#[test]
fn a_misroute_that_leaves_a_closing_queue_alone_pops_and_pushes_until_the_leader_comes() {
    let safeguards = Safeguards {
        misroute_reopens: false,
        ..NO_POLLS
    };
    let config = Config::new(&[B], &[up(A), up(B)]).start(Start::Split);
    let config = config.faults(&[Fault::Start, Fault::Stop], 2);
    // each turn adds a copy to the type list
    finds(&config.with(safeguards), Wrong::Grows);
}

#[test]
fn a_misroute_that_does_not_mark_the_queue_as_opening_leaves_older_hints_out_of_the_type_lists() {
    let safeguards = Safeguards {
        opening: false,
        ..NO_REPAIR
    };
    let config = growing(Start::Plain).faults(&[Fault::Start], 1);
    let events = finds(&config.with(safeguards), Wrong::Waits);
    // the pop for another task has taken the hint from the main list
    let stolen = |event: &Action| matches!(event, Action::PopType { task, main, .. } if task != main);
    assert!(events.iter().any(stolen), "{events:#?}");
}

#[test]
fn a_push_without_its_second_round_trip_misses_the_type_list() {
    let safeguards = Safeguards {
        second_push: false,
        ..NO_REPAIR
    };
    finds(&mixed(Start::Empty).with(safeguards), Wrong::Waits);
}

#[test]
fn a_fill_that_does_not_catch_up_loses_what_was_pushed_while_it_read() {
    let safeguards = Safeguards {
        catch_up: false,
        ..NO_REPAIR
    };
    let events = finds(&mixed(Start::Empty).with(safeguards), Wrong::Waits);
    let pushed = |event: &Action| matches!(event, Action::Push { .. });
    assert!(events.iter().any(pushed), "{events:#?}");
}

#[test]
fn a_pop_that_trusts_the_flag_of_its_last_reply_takes_another_hint_from_a_closing_queue() {
    let safeguards = Safeguards {
        pop_reads_flag: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[A, A], &[up(A), late(B)]).start(Start::Split);
    finds(&config.with(safeguards), Wrong::Waits);
}

#[test]
fn a_blocking_pop_that_takes_none_from_the_main_list_leaves_it_too_long() {
    let safeguards = Safeguards {
        pays_main: false,
        ..NO_REPAIR
    };
    let config = mixed(Start::Split).with(safeguards);
    assert!(reaches(&config, |system| {
        config.is_at_rest(system) && len(&system.main) > len(&system.typed)
    }));
}

#[test]
fn a_leader_that_deletes_type_lists_without_asking_for_the_flag_deletes_those_of_an_open_queue() {
    let safeguards = Safeguards {
        drop_is_conditional: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[A, A], &[up(A), late(B)]).start(Start::Split);
    let config = config.faults(&[Fault::Start, Fault::Stop], 2).leaders(2);
    finds(&config.with(safeguards), Wrong::Waits);
}

#[test]
fn a_leader_that_parks_without_asking_for_the_flag_takes_another_hint_from_a_closing_queue() {
    let safeguards = Safeguards {
        park_reads_flag: false,
        ..NO_REPAIR
    };
    let config = growing(Start::Split).faults(&[Fault::Start, Fault::Stop], 2);
    let events = finds(&config.leaders(2).with(safeguards), Wrong::Waits);
    let park = |event: &Action| {
        matches!(
            event,
            Action::Begin {
                duty: Duty::Park { .. },
                ..
            }
        )
    };
    assert!(events.iter().any(park), "{events:#?}");
}

#[test]
fn without_parking_a_split_queue_counts_what_no_worker_can_run() {
    let safeguards = Safeguards {
        parks: false,
        ..NO_POLLS
    };
    let config = Config::new(&[C], &[up(A), up(A | B)]);
    finds(&config.with(safeguards), Wrong::NotParked);
}

#[test]
fn parked_ids_that_are_looked_at_only_when_a_worker_starts_stay_behind() {
    let safeguards = Safeguards {
        sorts_by_state: false,
        ..NO_POLLS
    };
    let config = Config::new(&[B], &[up(A), late(B)]).start(Start::Plain);
    let config = config.faults(&[Fault::Start], 1);
    finds(&config.with(safeguards), Wrong::Parked);
}

#[test]
fn a_rebuild_that_lists_parked_rows_is_repeated_for_ever() {
    let safeguards = Safeguards {
        rebuild_parks: false,
        ..NO_POLLS
    };
    let config = Config::new(&[B], &[up(A), up(B)]).start(Start::Plain);
    finds(&config.faults(&[Fault::Stop], 1).with(safeguards), Wrong::Grows);
}

#[test]
fn a_lost_removal_leaves_the_hint_of_a_polled_task_until_a_comparison() {
    let unrepaired = Safeguards {
        comparisons: false,
        ..Safeguards::ALL
    };
    let polled = Config::new(&[A], &[full_after_one(A)]).start(Start::Plain);
    let leaves_a_hint = |config: &Config| {
        reaches(config, |system| {
            config.is_at_rest(system) && system.workers[0].slots == 0 && len(&system.main) == 1
        })
    };
    assert!(!leaves_a_hint(&polled.clone().with(unrepaired)));
    let lossy = polled.faults(&[Fault::LoseRemoval], 1);
    assert!(leaves_a_hint(&lossy.clone().with(unrepaired)));
    assert!(search(&lossy).counterexample.is_none());
}
