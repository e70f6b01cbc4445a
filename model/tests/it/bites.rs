//! What goes wrong when a protection is taken away.

use stateright::{Checker, HasDiscoveries, Model};
use tasker_model::{
    ACCOUNTED, ACCUSED_ONCE, ALL_OVER, Action, COMPLETED_ONCE, Config, Fault, Fence, LEFT_ALONE, NEVER_LOST,
    OWN_RUN, Protections, Strike,
};

const ALL: Protections = Protections::ALL;

/// The events up to the first state in which `property` does not hold.
fn counterexample(config: &Config, property: &'static str) -> Vec<Action> {
    let found = config
        .clone()
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join()
        .discovery(property)
        .expect("the property does not hold");
    let holds = config.property(property).condition;
    let steps = found.into_vec();
    let last = steps
        .iter()
        .position(|(system, _)| !holds(config, system))
        .expect("the path ends where the property does not hold");
    steps
        .into_iter()
        .take(last)
        .filter_map(|(_, action)| action)
        .collect()
}

fn fenced_by(fence: Fence) -> Protections {
    Protections { fence, ..ALL }
}

fn completions(events: &[Action]) -> usize {
    let complete = |event: &&Action| matches!(event, Action::Complete { .. });
    events.iter().filter(complete).count()
}

#[test]
fn without_a_fence_a_worker_that_was_stopped_and_wakes_completes_a_task_twice() {
    let config = Config::new(1, &[Fault::Pause], 1).with(fenced_by(Fence::Absent));
    let events = counterexample(&config, COMPLETED_ONCE);
    assert_eq!(completions(&events), 2, "{events:#?}");
}

#[test]
fn without_a_fence_a_completion_whose_answer_was_lost_is_written_twice() {
    let config = Config::new(1, &[Fault::LoseReply], 1).with(fenced_by(Fence::Absent));
    let events = counterexample(&config, COMPLETED_ONCE);
    let unanswered = |event: &Action| matches!(event, Action::Strike(Strike::LoseReplyOfComplete { .. }));
    assert!(events.iter().any(unanswered), "{events:#?}");
}

#[test]
fn fenced_by_the_task_alone_a_late_writer_ends_the_run_of_another_but_still_only_once() {
    let config = Config::new(1, &[Fault::Pause], 1).with(fenced_by(Fence::TaskOnly));
    let events = counterexample(&config, OWN_RUN);
    assert_eq!(completions(&events), 1, "{events:#?}");
    // the row is gone with the first completion
    let config = Config::new(1, &[Fault::Pause, Fault::LoseReply], 2).with(fenced_by(Fence::TaskOnly));
    let checker = config
        .checker()
        .finish_when(HasDiscoveries::All)
        .spawn_bfs()
        .join();
    checker.assert_no_discovery(COMPLETED_ONCE);
}

#[test]
fn fenced_without_the_worker_a_run_that_postgres_forgot_ends_the_one_that_has_its_number_now() {
    let config = Config::new(1, &[Fault::CrashOfPostgres], 1).with(fenced_by(Fence::WithoutWorker));
    let events = counterexample(&config, OWN_RUN);
    let crash = |event: &Action| matches!(event, Action::Strike(Strike::CrashOfPostgres { lost: 1.., .. }));
    assert!(events.iter().any(crash), "{events:#?}");
}

#[test]
fn without_net_and_rebuild_a_flush_leaves_a_task_behind() {
    let protections = Protections {
        net: false,
        rebuild: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::Flush], 1).with(protections);
    let events = counterexample(&config, ALL_OVER);
    assert!(events.contains(&Action::Strike(Strike::Flush)), "{events:#?}");
}

#[test]
fn without_take_back_unheld_a_lost_answer_leaves_a_task_running_for_ever() {
    let protections = Protections {
        reclaim_lost_claims: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::LoseReply], 1).with(protections);
    let events = counterexample(&config, ALL_OVER);
    let lost = |event: &Action| matches!(event, Action::Strike(Strike::LoseReplyOfClaim { .. }));
    assert!(events.iter().any(lost), "{events:#?}");
}

#[test]
fn a_take_back_that_spares_no_young_claim_takes_runs_that_are_being_answered() {
    let protections = Protections {
        take_back_spares_the_young: false,
        ..ALL
    };
    counterexample(&Config::new(1, &[], 0).with(protections), LEFT_ALONE);
}

#[test]
fn a_second_leader_that_reads_and_then_writes_takes_runs_from_the_living_and_counts_a_death_twice() {
    let protections = Protections {
        recover_is_conditional: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::Crash], 1).with(protections);
    for property in [LEFT_ALONE, ACCUSED_ONCE, ACCOUNTED] {
        let events = counterexample(&config.clone().leaders(2), property);
        let recover = |event: &&Action| matches!(event, Action::Recover { .. });
        assert_eq!(events.iter().filter(recover).count(), 2, "{events:#?}");
    }
    // alone it would do no harm here
    config.checker().spawn_bfs().join().assert_properties();
}

#[test]
fn recovery_at_the_moment_of_death_only_misses_a_claim_that_did_not_see_the_death() {
    let protections = Protections {
        recover_looks_at_states: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::Crash, Fault::OldSnapshot], 2).with(protections);
    let events = counterexample(&config, ALL_OVER);
    let late = |event: &Action| matches!(event, Action::Strike(Strike::ClaimOnOldSnapshot { .. }));
    assert!(events.iter().any(late), "{events:#?}");
}

#[test]
fn a_claim_that_does_not_ask_for_pending_steals_a_run() {
    let protections = Protections {
        claim_is_conditional: false,
        ..ALL
    };
    counterexample(&Config::new(1, &[], 0).with(protections), LEFT_ALONE);
}

#[test]
fn a_claim_that_does_not_ask_whether_its_worker_lives_has_its_tasks_accused_again_and_again() {
    let protections = Protections {
        claim_asks_if_alive: false,
        ..ALL
    };
    counterexample(
        &Config::new(1, &[Fault::Pause], 1).with(protections),
        ACCUSED_ONCE,
    );
}

#[test]
fn a_submit_that_does_not_wait_for_the_disk_loses_an_acknowledged_task() {
    let protections = Protections {
        insert_is_durable: false,
        ..ALL
    };
    counterexample(
        &Config::new(1, &[Fault::CrashOfPostgres], 1).with(protections),
        NEVER_LOST,
    );
}

#[test]
fn a_completion_that_does_not_wait_for_the_disk_takes_place_twice() {
    let protections = Protections {
        complete_is_durable: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::CrashOfPostgres], 1).with(protections);
    let events = counterexample(&config, COMPLETED_ONCE);
    assert_eq!(completions(&events), 2, "{events:#?}");
}
