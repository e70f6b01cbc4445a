//! Every task finishes once faults cease, in any order of events.

use tasker_model::{Config, Fault, Protections, always_terminates};

fn terminates(config: &Config) {
    let result = always_terminates(config);
    assert!(
        result.counterexample.is_none(),
        "of {} states: {:#?}",
        result.states,
        result.counterexample
    );
}

#[test]
fn a_task_always_finishes_after_any_two_faults() {
    terminates(&Config::new(1, &Fault::ALL, 2));
}

#[test]
fn without_fallback_polls_a_task_always_finishes_after_any_two_faults() {
    let event_driven_only = Protections {
        polling_fallback: false,
        ..Protections::ALL
    };
    terminates(&Config::new(1, &Fault::ALL, 2).with(event_driven_only).leaders(2));
}

#[test]
fn two_tasks_always_finish_after_a_loss() {
    let faults = [Fault::Flush, Fault::LosePush, Fault::LoseReply];
    terminates(&Config::new(2, &faults, 1));
    let event_driven_only = Protections {
        polling_fallback: false,
        ..Protections::ALL
    };
    terminates(&Config::new(2, &faults, 1).with(event_driven_only));
}

#[test]
fn without_fallback_polls_and_rebuild_a_task_without_a_hint_may_never_finish() {
    let protections = Protections {
        polling_fallback: false,
        rebuild: false,
        ..Protections::ALL
    };
    let result = always_terminates(&Config::new(1, &[Fault::LosePush], 1).with(protections));
    assert!(result.counterexample.is_some());
}
