use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::definition::FailureReaction;
use crate::edge::{Effect, StepEnd};
use crate::random::definitions;
use crate::read::{ReadOptions, from_yaml};
use crate::simulate::Simulation;
use crate::states::WorkflowState;

fn plan(steps: &str) -> Plan {
    let text = format!("name: x\nsteps: {steps}");
    Plan::of(
        &from_yaml(&text, ReadOptions::default())
            .expect("valid")
            .definition,
    )
}

#[test]
fn a_chain_has_no_join() {
    let chain = plan("[{name: a, run: e}, {name: b, run: e, needs: [a]}]");
    assert_eq!((chain.joins.len(), chain.end_join(), chain.levels), (0, None, 2));
    assert_eq!(chain.steps[0].edges[0].target, Target::Step(1));
    assert_eq!(chain.steps[0].edges[0].kind, kind::STEP);
    assert_eq!(chain.steps[1].edges[0].target, Target::End);
    assert_eq!(chain.steps[1].edges[0].kind, kind::END);
}

#[test]
fn a_diamond_has_one_join_and_its_kinds_hold_the_policies() {
    let diamond = plan(
        "
  - {name: d, run: e, needs: [b, {step: c, on_failure: skip}]}
  - {name: a, run: e}
  - {name: b, run: e, needs: [a]}
  - {name: c, run: e, needs: [a]}
",
    );
    assert_eq!(
        diamond.joins,
        [PlannedJoin {
            size: 2,
            opens: vec![0]
        }]
    );
    assert_eq!((&diamond.roots[..], &diamond.sinks[..]), (&[1][..], &[0][..]));
    assert_eq!(diamond.order, [1, 2, 3, 0]);
    assert_eq!(diamond.join_before(0), Some(0));
    let kinds: Vec<i16> = [2, 3].map(|step| diamond.steps[step].edges[0].kind).to_vec();
    assert_eq!(kinds, [kind::JOIN, kind::JOIN | 2]);
}

#[test]
fn several_last_steps_meet_in_the_join_of_the_end() {
    let fan = plan(
        "[{name: a, run: e}, {name: b, run: e, needs: [a]}, {name: c, run: e, on_failure: continue, needs: [a]}]",
    );
    assert_eq!(fan.end_join(), Some(0));
    assert_eq!(
        fan.joins,
        [PlannedJoin {
            size: 2,
            opens: vec![]
        }]
    );
    assert_eq!(fan.steps[2].edges[0].kind, kind::JOIN | 1);
    assert_eq!(
        (fan.end_policy(2), fan.end_policy(0)),
        (Some(EdgePolicy::Continue), None)
    );
}

#[test]
fn steps_with_the_same_parents_share_a_join_unless_their_policies_differ() {
    let parents: Vec<String> = (0..30).map(|n| format!("{{name: p{n}, run: e}}")).collect();
    let names: Vec<String> = (0..30).map(|n| format!("p{n}")).collect();
    let needs = names.join(", ");
    let reversed: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    let layer = plan(&format!(
        "[{}, {{name: a, run: e, needs: [{needs}]}}, {{name: b, run: e, needs: [{}]}}, {{name: c, run: e, needs: [{}]}}]",
        parents.join(", "),
        reversed.join(", "),
        needs.replace("p0,", "{step: p0, on_failure: skip},"),
    ));
    let opens: Vec<&[usize]> = layer.joins.iter().map(|join| &join.opens[..]).collect();
    assert_eq!(opens, [&[30, 31][..], &[32], &[]]);
    assert_eq!(layer.steps[1].edges.len(), 2);
}

#[test]
fn edges_into_a_wide_join_are_marked() {
    let fan = |n: usize| {
        let steps: Vec<String> = (0..n).map(|n| format!("{{name: s{n}, run: e}}")).collect();
        plan(&format!("[{}]", steps.join(", "))).steps[0].edges[0].kind
    };
    assert_eq!(fan(WIDE_JOIN) & kind::WIDE, 0);
    assert_eq!(fan(WIDE_JOIN + 1), kind::JOIN | kind::WIDE);
}

#[test]
fn rows_have_the_ids_of_their_targets_as_texts_of_arrays() {
    let fan = plan("[{name: b, run: e, needs: [a]}, {name: a, run: e}, {name: c, run: e, needs: [a]}]");
    let mut next = 0_u128;
    let ids = PlanIds::assign(&fan, Uuid::from_u128(99), || {
        next += 1;
        Uuid::from_u128(next)
    });
    let id = |n: u128| Uuid::from_u128(n).to_string();
    assert_eq!(
        ids.steps,
        [2, 1, 3].map(Uuid::from_u128),
        "the root has the lowest id"
    );
    let steps = fan.step_rows(&ids);
    assert_eq!(steps.ready, [false, true, false]);
    assert_eq!(steps.targets[1], format!("{{{},{}}}", id(2), id(3)));
    assert_eq!(steps.kinds, ["{32}", "{16,16}", "{32}"]);
    assert_eq!(steps.targets[0], format!("{{{}}}", id(4)));
    let joins = fan.join_rows(&ids);
    assert_eq!(
        (&joins.sizes[..], &joins.kinds[..]),
        (&[2][..], &["{64}".to_owned()][..])
    );
    assert_eq!(joins.targets, [format!("{{{}}}", id(99))]);
}

/// Advances a workflow by the rows of its plan, as the statement in the database does.
struct Rows {
    edges: Vec<Vec<PlannedEdge>>,
    joins: Vec<(PlannedJoin, usize, usize)>,
    ready: BTreeSet<usize>,
    to_skip: BTreeSet<usize>,
    ended: usize,
}

impl Rows {
    fn start(plan: &Plan) -> Self {
        Self {
            edges: plan.steps.iter().map(|step| step.edges.clone()).collect(),
            joins: plan
                .joins
                .iter()
                .map(|join| (join.clone(), join.size, 0))
                .collect(),
            ready: plan.roots.iter().copied().collect(),
            to_skip: BTreeSet::new(),
            ended: 0,
        }
    }

    fn end(&mut self, step: usize, end: StepEnd) {
        self.ready.remove(&step);
        self.to_skip.remove(&step);
        for edge in std::mem::take(&mut self.edges[step]) {
            match edge.policy.effect(end) {
                Effect::Blocks => self.edges[step].push(edge),
                Effect::Fires { good } => self.fire(edge.target, good),
            }
        }
    }

    fn fire(&mut self, target: Target, is_good: bool) {
        match target {
            Target::Step(child) => self.open(child, is_good),
            Target::End => self.ended += 1,
            Target::Join(join) => {
                let (planned, pending, good) = &mut self.joins[join];
                *pending -= 1;
                *good += usize::from(is_good);
                if *pending == 0 {
                    let (opens, any_good) = (planned.opens.clone(), *good > 0);
                    self.ended += usize::from(opens.is_empty());
                    for child in opens {
                        self.open(child, any_good);
                    }
                }
            }
        }
    }

    fn open(&mut self, step: usize, good: bool) {
        let set = if good { &mut self.ready } else { &mut self.to_skip };
        assert!(set.insert(step), "step {step} was opened twice");
    }
}

proptest! {
    #[test]
    fn the_rows_of_a_plan_advance_a_workflow_as_its_graph_does(
        definition in definitions(),
        fates in prop::collection::vec(any::<bool>(), 8),
        picks in prop::collection::vec(0..8_usize, 8),
    ) {
        let plan = Plan::of(&definition);
        let (mut rows, mut graph) = (Rows::start(&plan), Simulation::start(&plan, FailureReaction::Block));
        for pick in picks {
            prop_assert_eq!(&rows.ready, &graph.ready().into_iter().collect());
            prop_assert_eq!(&rows.to_skip, &graph.to_skip().into_iter().collect());
            let open: Vec<usize> = rows.ready.iter().chain(&rows.to_skip).copied().collect();
            let Some(step) = open.get(pick % open.len().max(1)).copied() else { break };
            let end = if rows.to_skip.contains(&step) {
                graph.skip(step).expect("allowed");
                StepEnd::Skipped
            } else {
                graph.claim(step).expect("ready");
                if fates[step] {
                    graph.fail(step).expect("running");
                    StepEnd::DeadLetter
                } else {
                    graph.complete(step).expect("running");
                    StepEnd::Completed
                }
            };
            rows.end(step, end);
        }
        prop_assert_eq!(rows.ended, usize::from(graph.state() == WorkflowState::Complete));
    }

    #[test]
    fn every_step_has_an_edge_and_each_join_at_least_two(definition in definitions()) {
        let plan = Plan::of(&definition);
        for (index, step) in plan.steps.iter().enumerate() {
            prop_assert!(!step.edges.is_empty());
            prop_assert!(step.parents.iter().all(|(parent, _)| plan.steps[*parent].level < step.level));
            prop_assert_eq!(plan.join_before(index).is_some(), step.parents.len() > 1);
        }
        for (index, join) in plan.joins.iter().enumerate() {
            let edges = plan.steps.iter().flat_map(|step| &step.edges);
            prop_assert_eq!(edges.filter(|edge| edge.target == Target::Join(index)).count(), join.size);
            prop_assert!(join.size >= 2);
        }
    }
}
