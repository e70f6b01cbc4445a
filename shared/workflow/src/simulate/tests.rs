use proptest::prelude::*;

use super::*;
use crate::random::definitions;
use crate::read::{ReadOptions, from_yaml};

/// A workflow whose steps are named.
struct Named {
    names: Vec<String>,
    workflow: Simulation,
}

impl Named {
    fn start(steps: &str) -> Self {
        let text = format!("name: x\n{steps}");
        let definition = from_yaml(&text, ReadOptions::default())
            .expect("valid")
            .definition;
        let plan = Plan::of(&definition);
        Self {
            names: definition.steps.iter().map(|step| step.name.clone()).collect(),
            workflow: Simulation::start(&plan, definition.on_failure),
        }
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|other| other == name).expect("a step")
    }

    fn complete(&mut self, name: &str) {
        let step = self.index(name);
        self.workflow.claim(step).expect("ready");
        self.workflow.complete(step).expect("running");
        self.workflow.skip_all().expect("steps to skip");
    }

    fn fail(&mut self, name: &str) {
        let step = self.index(name);
        self.workflow.claim(step).expect("ready");
        self.workflow.fail(step).expect("running");
        // a workflow that gave up skips no steps
        let _ = self.workflow.skip_all();
    }

    fn ready(&self) -> Vec<&str> {
        let ready = self.workflow.ready();
        ready.into_iter().map(|step| self.names[step].as_str()).collect()
    }

    fn status(&self, name: &str) -> StepStatus {
        self.workflow.statuses()[self.index(name)]
    }

    fn state(&self) -> WorkflowState {
        self.workflow.state()
    }
}

const DIAMOND: &str = "
steps:
  - {name: top, run: e}
  - {name: left, run: e, needs: [top]}
  - {name: right, run: e, needs: [top]}
  - {name: bottom, run: e, needs: [left, right]}
";

#[test]
fn a_step_starts_once_all_its_parents_have_completed() {
    let mut diamond = Named::start(DIAMOND);
    assert_eq!(diamond.ready(), ["top"]);
    diamond.complete("top");
    assert_eq!(diamond.ready(), ["left", "right"]);
    diamond.complete("right");
    assert_eq!(diamond.ready(), ["left"]);
    diamond.complete("left");
    assert_eq!(
        (diamond.ready(), diamond.state()),
        (vec!["bottom"], WorkflowState::StepsInProcess)
    );
    diamond.complete("bottom");
    assert_eq!(diamond.state(), WorkflowState::Complete);
}

#[test]
fn a_failure_blocks_the_steps_behind_it_and_other_branches_go_on() {
    let mut diamond = Named::start(DIAMOND);
    diamond.complete("top");
    diamond.fail("left");
    assert_eq!(diamond.state(), WorkflowState::BlockedByFailures);
    diamond.complete("right");
    assert_eq!(
        (diamond.ready().len(), diamond.status("bottom")),
        (0, StepStatus::Waiting)
    );
    assert_eq!(diamond.state(), WorkflowState::BlockedByFailures);
}

#[test]
fn an_operator_resolves_or_retries_a_failure_and_the_workflow_goes_on() {
    for resolve in [true, false] {
        let mut diamond = Named::start(DIAMOND);
        diamond.complete("top");
        diamond.fail("left");
        diamond.complete("right");
        let left = diamond.index("left");
        if resolve {
            diamond.workflow.resolve(left).expect("blocked");
        } else {
            diamond.workflow.retry(left).expect("blocked");
            assert_eq!(diamond.state(), WorkflowState::StepsInProcess);
            diamond.complete("left");
        }
        diamond.complete("bottom");
        assert_eq!(diamond.state(), WorkflowState::Complete);
    }
}

#[test]
fn a_failure_under_continue_is_handled_and_the_step_behind_it_runs() {
    let mut workflow =
        Named::start("steps: [{name: a, run: e, on_failure: continue}, {name: b, run: e, needs: [a]}]");
    workflow.fail("a");
    assert_eq!(
        (workflow.ready(), workflow.state()),
        (vec!["b"], WorkflowState::StepsInProcess)
    );
    workflow.complete("b");
    assert_eq!(workflow.state(), WorkflowState::Complete);
    assert_eq!(workflow.workflow.counts().handled_failures, 1);
}

#[test]
fn skips_cascade_until_a_step_has_another_parent_that_ended_well() {
    let mut workflow = Named::start(
        "
steps:
  - {name: a, run: e, on_failure: skip}
  - {name: other, run: e}
  - {name: b, run: e, needs: [a]}
  - {name: c, run: e, needs: [b]}
  - {name: join, run: e, needs: [c, other]}
",
    );
    workflow.fail("a");
    assert_eq!(
        (workflow.status("b"), workflow.status("c")),
        (StepStatus::Skipped, StepStatus::Skipped)
    );
    assert_eq!(workflow.status("join"), StepStatus::Waiting);
    workflow.complete("other");
    workflow.complete("join");
    assert_eq!(workflow.state(), WorkflowState::Complete);
}

#[test]
fn a_join_is_skipped_if_all_its_parents_were() {
    let mut workflow = Named::start(
        "
steps:
  - {name: a, run: e, on_failure: skip}
  - {name: b, run: e, needs: [a]}
  - {name: c, run: e, needs: [a]}
  - {name: join, run: e, needs: [b, c]}
",
    );
    workflow.fail("a");
    assert_eq!(workflow.status("join"), StepStatus::Skipped);
    assert_eq!(workflow.state(), WorkflowState::Complete);
}

#[test]
fn a_step_for_failures_runs_only_after_one() {
    let steps = "
steps:
  - {name: pay, run: e}
  - {name: refund, run: e, needs: [{step: pay, on_failure: only}]}
";
    let mut good = Named::start(steps);
    good.complete("pay");
    assert_eq!(
        (good.status("refund"), good.state()),
        (StepStatus::Skipped, WorkflowState::Complete)
    );
    let mut bad = Named::start(steps);
    bad.fail("pay");
    assert_eq!(
        (bad.ready(), bad.state()),
        (vec!["refund"], WorkflowState::StepsInProcess)
    );
    bad.complete("refund");
    assert_eq!(bad.state(), WorkflowState::Complete);
}

#[test]
fn a_failure_that_one_edge_handles_and_another_does_not_blocks_and_fires_the_first() {
    let mut workflow = Named::start(
        "
steps:
  - {name: a, run: e}
  - {name: b, run: e, needs: [a]}
  - {name: alarm, run: e, needs: [{step: a, on_failure: continue}]}
",
    );
    workflow.fail("a");
    assert_eq!(
        (workflow.ready(), workflow.state()),
        (vec!["alarm"], WorkflowState::BlockedByFailures)
    );
    workflow.complete("alarm");
    let a = workflow.index("a");
    workflow.workflow.resolve(a).expect("blocked");
    assert_eq!(
        workflow.ready(),
        ["b"],
        "the edge that had fired does not fire again"
    );
}

#[test]
fn the_last_step_can_fail_without_blocking_if_its_policy_allows_it() {
    let mut blocked = Named::start("steps: [{name: a, run: e}]");
    blocked.fail("a");
    assert_eq!(blocked.state(), WorkflowState::BlockedByFailures);
    let mut complete = Named::start("steps: [{name: a, run: e, on_failure: continue}]");
    complete.fail("a");
    assert_eq!(complete.state(), WorkflowState::Complete);
}

#[test]
fn a_workflow_that_ends_on_failures_cancels_its_other_steps() {
    let mut workflow = Named::start(&format!("on_failure: error{DIAMOND}"));
    workflow.complete("top");
    let right = workflow.index("right");
    workflow.workflow.claim(right).expect("ready");
    workflow.fail("left");
    assert_eq!(workflow.status("bottom"), StepStatus::Cancelled);
    assert_eq!(
        workflow.state(),
        WorkflowState::StepsInProcess,
        "a step still runs"
    );
    workflow.workflow.complete(right).expect("running");
    assert_eq!(
        (workflow.status("right"), workflow.state()),
        (StepStatus::Cancelled, WorkflowState::Error)
    );
}

#[test]
fn a_cancelled_workflow_ends_with_its_last_running_step_and_starts_none() {
    let mut diamond = Named::start(DIAMOND);
    let top = diamond.index("top");
    diamond.workflow.claim(top).expect("ready");
    let advance = diamond.workflow.cancel().expect("alive");
    assert_eq!(advance.cancelled.len(), 3);
    assert_eq!(
        diamond.workflow.cancel(),
        Err(SimulationError::Workflow(diamond.state()))
    );
    diamond.workflow.complete(top).expect("running");
    assert_eq!(diamond.state(), WorkflowState::Cancelled);
    assert_eq!(diamond.status("top"), StepStatus::Cancelled);
    assert!(diamond.workflow.complete(top).is_err());
}

#[test]
fn a_blocked_workflow_can_be_resolved_or_given_up_and_a_running_one_cannot_be_resolved() {
    let mut diamond = Named::start(DIAMOND);
    assert!(diamond.workflow.resolve_workflow().is_err());
    diamond.fail("top");
    let mut other = diamond.workflow.clone();
    diamond.workflow.resolve_workflow().expect("blocked");
    assert_eq!(diamond.state(), WorkflowState::ResolvedManually);
    other.give_up().expect("blocked");
    assert_eq!(other.state(), WorkflowState::Error);
}

#[test]
fn a_step_that_an_operator_skips_is_skipped_once_its_parents_have_ended() {
    let mut diamond = Named::start(DIAMOND);
    let (left, bottom) = (diamond.index("left"), diamond.index("bottom"));
    diamond.workflow.skip_by_operator(bottom).expect("waiting");
    diamond.complete("top");
    assert_eq!(
        diamond.workflow.skip_by_operator(left).expect("ready").to_skip,
        [left]
    );
    diamond.complete("right");
    assert_eq!(diamond.state(), WorkflowState::Complete);
    assert_eq!(diamond.workflow.counts().skipped, 2);
    assert!(diamond.workflow.skip_by_operator(left).is_err());
}

#[test]
fn a_step_that_is_not_ready_cannot_be_claimed_and_one_that_ended_cannot_end_again() {
    let mut diamond = Named::start(DIAMOND);
    assert!(diamond.workflow.claim(3).is_err());
    assert!(diamond.workflow.complete(0).is_err());
    diamond.complete("top");
    let error = diamond.workflow.complete(0).expect_err("ended");
    assert_eq!(
        error.to_string(),
        "step 0 is completed, which does not allow that"
    );
}

/// Runs a workflow to where it stands still: `fates` says which steps fail, `picks` which ready step is next.
fn run(plan: &Plan, fates: &[bool], picks: &[usize]) -> Simulation {
    let mut workflow = Simulation::start(plan, FailureReaction::Block);
    let mut picks = picks.iter().cycle();
    loop {
        let (ready, to_skip) = (workflow.ready(), workflow.to_skip());
        let open: Vec<usize> = ready.iter().chain(&to_skip).copied().collect();
        if open.is_empty() {
            return workflow;
        }
        let step = open[picks.next().expect("endless") % open.len()];
        let ended = if to_skip.contains(&step) {
            workflow.skip(step)
        } else {
            workflow.claim(step).expect("ready");
            if fates[step] {
                workflow.fail(step)
            } else {
                workflow.complete(step)
            }
        };
        ended.expect("allowed");
    }
}

proptest! {
    #[test]
    fn a_workflow_always_ends_or_is_blocked_by_a_dead_letter(
        definition in definitions(),
        fates in prop::collection::vec(any::<bool>(), 8),
        picks in prop::collection::vec(0..8_usize, 1..20),
    ) {
        let workflow = run(&Plan::of(&definition), &fates, &picks);
        let counts = workflow.counts();
        match workflow.state() {
            WorkflowState::Complete => {
                prop_assert_eq!(counts.ended(), counts.total());
                prop_assert_eq!(counts.blocking_failures, 0);
            }
            WorkflowState::BlockedByFailures => prop_assert!(counts.blocking_failures > 0),
            state => prop_assert!(false, "it stands still as {}", state),
        }
    }

    #[test]
    fn the_order_in_which_steps_end_does_not_matter(
        definition in definitions(),
        fates in prop::collection::vec(any::<bool>(), 8),
        one in prop::collection::vec(0..8_usize, 1..20),
        other in prop::collection::vec(0..8_usize, 1..20),
    ) {
        let plan = Plan::of(&definition);
        prop_assert_eq!(run(&plan, &fates, &one), run(&plan, &fates, &other));
    }

    #[test]
    fn a_workflow_without_failures_completes(definition in definitions(), picks in prop::collection::vec(0..8_usize, 1..20)) {
        let workflow = run(&Plan::of(&definition), &[false; 8], &picks);
        prop_assert_eq!(workflow.state(), WorkflowState::Complete);
    }

    #[test]
    fn resolving_every_dead_letter_completes_a_workflow(
        definition in definitions(),
        fates in prop::collection::vec(any::<bool>(), 8),
        picks in prop::collection::vec(0..8_usize, 1..20),
    ) {
        let mut workflow = run(&Plan::of(&definition), &fates, &picks);
        while !workflow.state().is_terminal() {
            workflow.skip_all().expect("allowed");
            if let Some(step) = workflow.ready().first().copied() {
                workflow.claim(step).expect("ready");
                workflow.complete(step).expect("running");
            } else if let Some(step) = (0..workflow.steps.len()).find(|step| workflow.steps[*step].blocks()) {
                workflow.resolve(step).expect("blocked");
            }
        }
        prop_assert_eq!(workflow.state(), WorkflowState::Complete);
    }
}
