//! Counterexamples of searches with one safeguard removed.

use tasker_model::routing::{
    A, Action, B, Config, Counterexample, Duty, Fault, Fleet, Safeguards, Start, System, Wrong, len, reaches,
    search,
};

use super::{C, CHANGES, full_after_one, growing, late, mixed, up};

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

/// Asserts that a state is reached once a safeguard is removed, and not with it.
fn only_without(with: &Config, without: Safeguards, condition: impl Fn(&System) -> bool) {
    assert!(!reaches(with, &condition), "with the safeguard");
    assert!(reaches(&with.clone().with(without), condition), "without it");
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
fn a_push_that_fills_no_type_list_misses_a_split_queue() {
    let safeguards = Safeguards {
        push_fills_types: false,
        ..NO_REPAIR
    };
    finds(&mixed(Start::Empty).with(safeguards), Wrong::Waits);
}

#[test]
fn a_misroute_without_a_leader_or_a_pause_goes_round_in_a_cycle() {
    let events = finds(&mixed(Start::Plain).with(NO_REPAIR).leaders(0), Wrong::Cycle);
    assert!(events.contains(&Action::Return { worker: 0 }), "{events:#?}");
    let safeguards = Safeguards {
        misroute_pauses: false,
        ..NO_POLLS
    };
    // each round adds a copy to the type list while the queue is opening
    let config = Config::new(&[B], &[up(A), up(B)]).start(Start::Plain);
    finds(&config.with(safeguards), Wrong::Grows);
}

#[test]
fn a_fill_that_reads_before_it_opens_loses_what_is_pushed_meanwhile() {
    let safeguards = Safeguards {
        opens_first: false,
        adopt_reads_state: false,
        ..NO_REPAIR
    };
    finds(&mixed(Start::Empty).with(safeguards), Wrong::Waits);
}

#[test]
fn a_fill_that_keeps_nothing_loses_what_was_pushed_while_it_read() {
    let safeguards = Safeguards {
        adopt_keeps: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[B, B], &[up(A), up(B)]);
    let events = finds(&config.with(safeguards), Wrong::Waits);
    let pushed = |event: &Action| matches!(event, Action::Push { .. });
    assert!(events.iter().any(pushed), "{events:#?}");
}

#[test]
fn long_lists_without_a_catch_up_lose_what_was_pushed_while_they_were_made() {
    let safeguards = Safeguards {
        catch_up: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[B, B], &[up(A), up(B)]).with_long_lists();
    finds(&config.with(safeguards), Wrong::Waits);
}

#[test]
fn a_pop_that_trusts_the_state_of_its_last_reply_trims_the_main_list_of_a_closing_queue() {
    let safeguards = Safeguards {
        pop_reads_state: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[A, A], &[up(A), up(B)]).faults(&[Fault::Stop], 1);
    finds(&config.with(safeguards), Wrong::Waits);
}

#[test]
fn a_balance_that_does_not_read_the_state_trims_the_main_list_of_a_closing_queue() {
    let safeguards = Safeguards {
        balance_reads_state: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[A, A], &[up(A), late(B)]).start(Start::Split);
    finds(&config.with(safeguards), Wrong::Waits);
}

#[test]
fn without_balance_the_main_list_of_a_split_queue_is_too_long() {
    let safeguards = Safeguards {
        balances: false,
        ..NO_REPAIR
    };
    let config = mixed(Start::Split).with(NO_REPAIR);
    only_without(&config.clone(), safeguards, |system| {
        config.is_at_rest(system) && len(&system.main) > len(&system.typed)
    });
}

#[test]
fn a_second_step_to_plain_that_does_not_read_the_state_deletes_the_lists_of_an_open_queue() {
    let safeguards = Safeguards {
        merge_reads_state: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[A, A], &[up(A), late(B)]).start(Start::Split);
    let config = config.faults(&CHANGES, 2).leaders(2);
    finds(&config.with(safeguards), Wrong::Waits);
}

#[test]
fn a_leader_that_parks_without_reading_the_state_trims_the_main_list_of_a_closing_queue() {
    let safeguards = Safeguards {
        park_reads_state: false,
        ..NO_REPAIR
    };
    let config = growing(Start::Split).faults(&CHANGES, 2);
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
fn parked_ids_that_are_checked_only_when_a_worker_starts_stay_behind() {
    let safeguards = Safeguards {
        sorts_by_state: false,
        ..NO_POLLS
    };
    // the last worker of the queue stops
    let config = Config::new(&[B], &[up(A)]).start(Start::Plain);
    let config = config.faults(&[Fault::Stop], 1);
    finds(&config.with(safeguards), Wrong::Parked);
}

#[test]
fn a_rebuild_that_lists_parked_rows_leaves_them_in_both() {
    let safeguards = Safeguards {
        rebuild_parks: false,
        ..NO_POLLS
    };
    let config = Config::new(&[B], &[up(A), up(B)]).start(Start::Plain);
    counterexample(&config.faults(&[Fault::Stop], 1).with(safeguards));
}

#[test]
fn a_removal_that_trusts_the_last_reply_leaves_the_hint_of_a_polled_task() {
    let unrepaired = Safeguards {
        comparisons: false,
        sweeps_unremoved: false,
        ..Safeguards::ALL
    };
    let safeguards = Safeguards {
        remove_reads_state: false,
        ..unrepaired
    };
    let config = Config::new(&[A], &[full_after_one(A)]).start(Start::Split);
    only_without(&config.clone().with(unrepaired), safeguards, |system| {
        config.is_at_rest(system) && system.pending() == 0 && len(&system.main) > 0
    });
}

/// Returns a search without comparisons in which a task is claimed while its queue is split.
fn claimed_while_split() -> (Config, Safeguards) {
    let unrepaired = Safeguards {
        comparisons: false,
        ..NO_REPAIR
    };
    // the other worker is full, since a misrouted id on its way back would need a comparison
    let full = Fleet { slots: 0, ..up(A) };
    let config = Config::new(&[B], &[full, full_after_one(B)]).start(Start::Plain);
    (config.with(unrepaired), unrepaired)
}

#[test]
fn without_a_sweep_after_a_split_a_hint_stays_whose_row_was_claimed_meanwhile() {
    let (config, unrepaired) = claimed_while_split();
    let safeguards = Safeguards {
        sweeps_after_split: false,
        ..unrepaired
    };
    only_without(&config.clone(), safeguards, |system| {
        config.is_at_rest(system) && system.flag.is_split() && system.pending() == 0 && len(&system.typed) > 0
    });
}

#[test]
fn without_sweeps_a_removal_that_scans_too_little_leaves_its_hint() {
    let unrepaired = Safeguards {
        comparisons: false,
        ..Safeguards::ALL
    };
    let safeguards = Safeguards {
        sweeps_unremoved: false,
        ..unrepaired
    };
    let config = Config::new(&[A], &[full_after_one(A)]).start(Start::Plain);
    let config = config.faults(&[Fault::Miss], 1);
    let left = |system: &System| config.is_at_rest(system) && system.pending() == 0 && len(&system.main) > 0;
    let swept = |system: &System| left(system) && !system.unremoved;
    assert!(!reaches(&config.clone().with(unrepaired), swept));
    assert!(reaches(&config.clone().with(safeguards), left));
}

#[test]
fn a_sweep_that_finds_nothing_and_makes_no_lists_leaves_them_too_long() {
    let safeguards = Safeguards {
        sweep_rebuilds: false,
        ..NO_POLLS
    };
    // a fill parks an id and dies; the queue becomes plain again, and its only worker is full
    let config = Config::new(&[C, A], &[full_after_one(A), up(B)]).start(Start::Plain);
    let config = config.faults(&[Fault::Stop, Fault::LeaderDies], 2);
    counterexample(&config.clone().with(safeguards));
    let safeguards = Safeguards {
        rebuild_empties: false,
        ..NO_POLLS
    };
    finds(&config.clone().with(safeguards), Wrong::Cycle);
    assert!(search(&config.with(NO_POLLS)).counterexample.is_none());
}

#[test]
fn a_fill_that_does_not_read_the_state_splits_a_queue_without_what_was_pushed() {
    let safeguards = Safeguards {
        adopt_reads_state: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[A], &[up(A), up(A | B)])
        .faults(&[Fault::Stop], 1)
        .leaders(2);
    finds(&config.clone().with(safeguards), Wrong::Waits);
    assert!(search(&config.with(NO_REPAIR)).counterexample.is_none());
}

#[test]
fn a_fill_that_does_not_read_the_generation_splits_a_queue_that_was_closed_and_opened_since() {
    let safeguards = Safeguards {
        adopt_reads_generation: false,
        ..NO_REPAIR
    };
    // the leader that opened the queue again would repair it, so it dies
    let faults = [Fault::Start, Fault::Stop, Fault::LeaderDies];
    let config = Config::new(&[A], &[up(A), up(A | B)])
        .faults(&faults, 3)
        .leaders(2);
    let events = finds(&config.clone().with(safeguards), Wrong::Waits);
    let opens = events.iter().filter(|event| {
        matches!(
            event,
            Action::Begin {
                duty: Duty::Open(_),
                ..
            }
        )
    });
    assert!(opens.count() >= 2, "{events:#?}");
    assert!(search(&config.with(NO_REPAIR)).counterexample.is_none());
}

#[test]
fn leaders_that_close_a_plain_queue_close_it_for_each_other_for_ever() {
    let safeguards = Safeguards {
        merge_spares_plain: false,
        ..NO_POLLS
    };
    let config = Config::new(&[A], &[up(A)]).start(Start::Split).leaders(2);
    finds(&config.with(safeguards), Wrong::Cycle);
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

#[test]
fn a_sweep_that_removes_what_it_counted_removes_the_last_copy_beside_a_fill() {
    let safeguards = Safeguards {
        sweeps_leave_one: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[B], &[up(A), up(B)]).leaders(2);
    finds(&config.with(safeguards), Wrong::Waits);
}

#[test]
fn a_fill_that_keeps_no_parked_hints_loses_what_was_parked_while_it_read() {
    let safeguards = Safeguards {
        adopt_keeps_parked: false,
        ..NO_REPAIR
    };
    let config = Config::new(&[B], &[up(A), up(B)]).faults(&CHANGES, 2);
    let found = counterexample(&config.leaders(2).with(safeguards));
    assert!(matches!(found.wrong, Wrong::Waits | Wrong::NotParked));
}
