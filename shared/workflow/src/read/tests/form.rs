use super::*;
use crate::edge::EdgePolicy;

const DIAMOND: &str = "
name: diamond
namespace_name: shapes
version: 1.2.0
input_schema: {type: object}
steps:
  - {name: bottom, dependencies: [left, right], handler: {callable: echo}}
  - name: top
    handler: {callable: echo, initialization: {how: fast}}
    retry: {max_attempts: 5, backoff: linear}
    timeout_seconds: 30
  - {name: left, dependencies: [top], handler: {callable: echo}}
  - {name: right, dependencies: [top], handler: {callable: echo}}
";

#[test]
fn the_source_format_is_read_with_its_defaults() {
    let diamond = valid(DIAMOND);
    assert_eq!(
        diamond.id(),
        ("shapes", "diamond", &semver::Version::new(1, 2, 0))
    );
    let top = &diamond.steps[1];
    assert_eq!((top.retry.max_attempts, top.retry.backoff_base_ms), (5, 1_000));
    assert_eq!(top.timeout, Some(std::time::Duration::from_secs(30)));
    assert_eq!(top.inputs.as_ref().expect("inputs").len(), 1);
    let least = valid(&step(""));
    assert_eq!(least.id(), ("default", "x", &semver::Version::new(1, 0, 0)));
    assert_eq!(
        (least.steps[0].retry.max_attempts, &least.steps[0].inputs),
        (3, &None)
    );
}

#[test]
fn the_short_form_and_the_long_form_are_one_definition_with_one_hash() {
    let short = DIAMOND
        .replace(
            "handler: {callable: echo, initialization: {how: fast}}",
            "run: echo\n    with: {how: fast}",
        )
        .replace("handler: {callable: echo}", "run: echo")
        .replace("dependencies", "needs")
        .replace("namespace_name", "namespace")
        .replace("timeout_seconds: 30", "timeout: 30s");
    assert_ne!(short, DIAMOND);
    assert_eq!(valid(&short), valid(DIAMOND));
    assert_eq!(valid(&short).hash(), valid(DIAMOND).hash());
    let other = DIAMOND.replace("fast", "slow");
    assert_ne!(valid(&other).hash(), valid(DIAMOND).hash());
}

#[test]
fn the_normalised_form_reads_as_the_same_definition() {
    let definition = valid(
        "
name: order
metadata: {b: 1.10, a: [null, true]}
deadline: 2h
priority: 3
queue: high
on_failure: error
instance_name: order-$context.id
output: {price: $$5, of: $pay.amount}
environments: {production: {deadline: 1h, steps: [{name: pay, with: {x: 2}, retry: {max_attempts: 9}}]}}
system_dependencies: {primary: db}
steps:
  - {name: pay, run: pay, with: {x: '$context.a[0]', y: [1.50, $$x]}, on_failure: continue, timeout: 1.5}
  - {name: log, run: log, needs: [pay, {step: mail, on_failure: skip}]}
  - {name: mail, run: mail, needs: [pay], queue: low, priority: -5, publishes_events: []}
",
    );
    let text = definition.to_json();
    assert_eq!(from_stored(&text), Ok(definition.clone()));
    let by_serde: Definition = serde_json::from_str(&text).expect("valid");
    assert_eq!(by_serde, definition);
    assert!(text.contains("[1.50,\"$$x\"]"), "{text}");
}

#[test]
fn the_hash_changes_with_the_digits_of_a_number_but_not_with_the_order_of_keys() {
    let with = |inputs: &str| valid(&step(&format!(", with: {inputs}"))).hash();
    assert_eq!(with("{a: 1, b: 2}"), with("{b: 2, a: 1}"));
    assert_ne!(with("{a: 1.10}"), with("{a: 1.1}"));
    assert_eq!(with("{a: 1}").to_string().len(), 64);
}

#[test]
fn an_edge_takes_its_own_policy_or_that_of_the_step_that_it_leaves() {
    let definition = valid(
        "
name: x
steps:
  - {name: a, run: e, on_failure: continue}
  - {name: b, run: e}
  - {name: c, run: e, needs: [a, b, {step: d, on_failure: skip}]}
  - {name: d, run: e}
  - {name: e, run: e, needs: [{step: a, on_failure: only}]}
",
    );
    let policies: Vec<EdgePolicy> = definition.steps[2]
        .needs
        .iter()
        .map(|edge| edge.on_failure)
        .collect();
    assert_eq!(
        policies,
        [EdgePolicy::Continue, EdgePolicy::Fail, EdgePolicy::Skip]
    );
    assert_eq!(definition.steps[4].needs[0].on_failure, EdgePolicy::Only);
}

#[test]
fn retry_and_timeout_of_the_workflow_are_the_defaults_of_its_steps() {
    let definition = valid(
        "
name: x
retry: {max_attempts: 7, backoff: none}
timeout: 5m
steps: [{name: a, run: e, retry: {max_attempts: 2}}, {name: b, run: e, timeout: 1m}]
",
    );
    let [a, b] = &definition.steps[..] else {
        panic!("two steps")
    };
    assert_eq!((a.retry.max_attempts, b.retry.max_attempts), (2, 7));
    assert_eq!(a.retry.backoff, b.retry.backoff);
    assert_eq!(
        (
            a.timeout.expect("set").as_secs(),
            b.timeout.expect("set").as_secs()
        ),
        (300, 60)
    );
}

#[test]
fn the_overrides_of_an_environment_are_applied_in_their_order() {
    let definition = valid(
        "
name: x
queue: low
environments:
  production:
    queue: high
    steps:
      - {name: ALL, timeout: 1m, retry: {max_attempts: 9}, with: {url: prod}}
      - {name: b, handler: {initialization: {key: $a.key}}, timeout_seconds: 5, queue: default}
steps:
  - {name: a, run: e, with: {url: dev, x: 1}, timeout: 1s}
  - {name: b, run: e, needs: [a], with: {}}
  - {name: c, run: e}
",
    );
    let production = definition.for_environment("production");
    let seconds: Vec<u64> = production
        .steps
        .iter()
        .map(|step| step.timeout.expect("set").as_secs())
        .collect();
    assert_eq!(seconds, [60, 5, 60]);
    assert!(production.steps.iter().all(|step| step.retry.max_attempts == 9));
    let inputs = |step: usize| production.steps[step].inputs.as_ref().map(BTreeMap::len);
    assert_eq!((inputs(0), inputs(1), inputs(2)), (Some(2), Some(2), None));
    assert!(production.environments.is_empty());
    assert_ne!(production.hash(), definition.hash());
    let elsewhere = definition.for_environment("test");
    assert_eq!(elsewhere.steps, definition.steps);
    assert_eq!(from_stored(&production.to_json()), Ok(production));
}

#[test]
fn a_definition_declares_the_queue_of_its_namespace_if_any_step_is_to_wait_there() {
    let declared = |text: &str| {
        let text = format!("name: x\nnamespace: pay\n{text}");
        valid(&text).declared_queue().map(|queue| queue.to_string())
    };
    let own = Some("pay_queue".to_owned());
    assert_eq!(declared("steps: [{name: a, run: e}]"), None);
    assert_eq!(declared("queue: other_queue\nsteps: [{name: a, run: e}]"), None);
    assert_eq!(declared("queue: pay_queue\nsteps: [{name: a, run: e}]"), own);
    assert_eq!(declared("steps: [{name: a, run: e, queue: pay_queue}]"), own);
    let production = "environments: {production: {queue: pay_queue}}";
    assert_eq!(
        declared(&format!("steps: [{{name: a, run: e}}]\n{production}")),
        own
    );
}

#[test]
fn a_step_runs_in_its_own_queue_or_that_of_the_definition_the_namespace_or_its_priority() {
    let definition =
        valid("name: x\nnamespace: pay\nsteps: [{name: a, run: e, queue: low}, {name: b, run: e}]");
    let [a, b] = &definition.steps[..] else {
        panic!("two steps")
    };
    let queue = |step, priority, declared: &str| {
        let queue = definition.queue_of(step, priority, |queue| queue.as_str() == declared);
        queue.as_str().to_owned()
    };
    assert_eq!(queue(a, 9, "pay_queue"), "low_priority");
    assert_eq!(queue(b, 9, "pay_queue"), "pay_queue");
    assert_eq!(queue(b, 9, "other"), "high_priority");
}
