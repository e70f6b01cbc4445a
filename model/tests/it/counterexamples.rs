//! Counterexamples of searches with one protection removed.

use stateright::{Checker, HasDiscoveries, Model};
use tasker_model::{
    ACCOUNTED, ALL_OVER, Action, COMPLETED_ONCE, CRASH_COUNTED_ONCE, Config, Fault, Fence, InjectedFault,
    LIVE_RUNS_KEPT, NEVER_LOST, OWN_RUN, Protections,
};

const ALL: Protections = Protections::ALL;

/// Returns the events up to the first state that violates `property`.
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
fn without_a_fence_a_completion_whose_response_was_lost_is_written_twice() {
    let config = Config::new(1, &[Fault::LoseReply], 1).with(fenced_by(Fence::Absent));
    let events = counterexample(&config, COMPLETED_ONCE);
    let unanswered =
        |event: &Action| matches!(event, Action::Inject(InjectedFault::LoseReplyOfComplete { .. }));
    assert!(events.iter().any(unanswered), "{events:#?}");
}

#[test]
fn fenced_by_the_task_alone_a_late_writer_ends_the_run_of_another_but_still_only_once() {
    let config = Config::new(1, &[Fault::Pause], 1).with(fenced_by(Fence::TaskOnly));
    let events = counterexample(&config, OWN_RUN);
    assert_eq!(completions(&events), 1, "{events:#?}");
    // but never twice: the first completion deletes the row
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
    let crash = |event: &Action| {
        matches!(
            event,
            Action::Inject(InjectedFault::CrashOfPostgres { lost: 1.., .. })
        )
    };
    assert!(events.iter().any(crash), "{events:#?}");
}

#[test]
fn without_polling_fallback_and_rebuild_a_flush_leaves_a_task_behind() {
    let protections = Protections {
        polling_fallback: false,
        rebuild: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::Flush], 1).with(protections);
    let events = counterexample(&config, ALL_OVER);
    assert!(
        events.contains(&Action::Inject(InjectedFault::Flush)),
        "{events:#?}"
    );
}

#[test]
fn without_reclaims_a_lost_claim_response_leaves_a_task_running_for_ever() {
    let protections = Protections {
        reclaim_lost_claims: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::LoseReply], 1).with(protections);
    let events = counterexample(&config, ALL_OVER);
    let lost = |event: &Action| matches!(event, Action::Inject(InjectedFault::LoseReplyOfClaim { .. }));
    assert!(events.iter().any(lost), "{events:#?}");
}

#[test]
fn a_reclaim_that_spares_no_recent_claim_takes_runs_whose_claim_response_is_in_flight() {
    let protections = Protections {
        reclaim_spares_recent_claims: false,
        ..ALL
    };
    counterexample(&Config::new(1, &[], 0).with(protections), LIVE_RUNS_KEPT);
}

#[test]
fn a_second_leader_that_reads_and_then_writes_takes_runs_from_live_workers_and_counts_a_death_twice() {
    let protections = Protections {
        recover_is_conditional: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::Crash], 1).with(protections);
    for property in [LIVE_RUNS_KEPT, CRASH_COUNTED_ONCE, ACCOUNTED] {
        let events = counterexample(&config.clone().leaders(2), property);
        let recover = |event: &&Action| matches!(event, Action::Recover { .. });
        assert_eq!(events.iter().filter(recover).count(), 2, "{events:#?}");
    }
    // with a single leader the protection is not needed in this model
    config.checker().spawn_bfs().join().assert_properties();
}

#[test]
fn recovery_at_the_moment_of_death_only_misses_a_claim_that_did_not_see_the_death() {
    let protections = Protections {
        recover_checks_states: false,
        ..ALL
    };
    let config = Config::new(1, &[Fault::Crash, Fault::OldSnapshot], 2).with(protections);
    let events = counterexample(&config, ALL_OVER);
    let late = |event: &Action| matches!(event, Action::Inject(InjectedFault::ClaimOnOldSnapshot { .. }));
    assert!(events.iter().any(late), "{events:#?}");
}

#[test]
fn a_claim_that_does_not_check_for_pending_steals_a_run() {
    let protections = Protections {
        claim_is_conditional: false,
        ..ALL
    };
    counterexample(&Config::new(1, &[], 0).with(protections), LIVE_RUNS_KEPT);
}

#[test]
fn a_claim_that_does_not_check_its_worker_is_alive_counts_crashes_again_and_again() {
    let protections = Protections {
        claim_checks_liveness: false,
        ..ALL
    };
    counterexample(
        &Config::new(1, &[Fault::Pause], 1).with(protections),
        CRASH_COUNTED_ONCE,
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
