//! Every task ends once faults cease, in whatever order things happen then.

use tasker_model::{Config, Fault, Protections, sure_to_end};

fn ends(config: &Config) {
    let ends = sure_to_end(config);
    assert!(
        ends.endless.is_none(),
        "of {} states: {:#?}",
        ends.states,
        ends.endless
    );
}

#[test]
fn a_task_is_sure_to_end_whatever_two_faults_struck() {
    ends(&Config::new(1, &Fault::ALL, 2));
}

#[test]
fn a_task_is_sure_to_end_without_the_net_whatever_two_faults_struck() {
    let event_driven_only = Protections {
        net: false,
        ..Protections::ALL
    };
    ends(&Config::new(1, &Fault::ALL, 2).with(event_driven_only).leaders(2));
}

#[test]
fn two_tasks_are_sure_to_end_after_a_loss() {
    let faults = [Fault::Flush, Fault::LosePush, Fault::LoseReply];
    ends(&Config::new(2, &faults, 1));
    let event_driven_only = Protections {
        net: false,
        ..Protections::ALL
    };
    ends(&Config::new(2, &faults, 1).with(event_driven_only));
}

#[test]
fn a_task_without_a_hint_is_not_sure_to_end_if_nobody_looks_for_it() {
    let protections = Protections {
        net: false,
        rebuild: false,
        ..Protections::ALL
    };
    let ends = sure_to_end(&Config::new(1, &[Fault::LosePush], 1).with(protections));
    assert!(ends.endless.is_some());
}
