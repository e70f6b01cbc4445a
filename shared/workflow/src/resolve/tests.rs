use super::*;
use crate::read::{ReadOptions, from_yaml};

const CONTEXT: &str = r#"{"id": 7.10, "name": "Ann", "tags": ["a", "b"], "big": 12345678901234567890}"#;

fn step(with: &str) -> Step {
    let text = format!(
        "
name: x
steps:
  - {{name: pay, run: e, on_failure: continue}}
  - {{name: reserve, run: e}}
  - {{name: ship, run: e, needs: [reserve, pay]{with}}}
"
    );
    let definition = from_yaml(&text, ReadOptions::default())
        .expect("valid")
        .definition;
    definition.steps[2].clone()
}

fn outcome(name: &str) -> Option<StepOutcome<'static>> {
    match name {
        "pay" => Some(StepOutcome::Completed(
            r#"{"amount": 1.50, "lines": [ {"n": 1} ]}"#,
        )),
        "reserve" => Some(StepOutcome::Completed("null")),
        _ => None,
    }
}

#[test]
fn references_are_replaced_by_the_text_of_their_values_and_keys_are_sorted() {
    let step = step(
        ", with: {z: '$pay.lines[0]', a: {to: $context.name, n: [$context.big, 1.10, $$5]}, m: $pay.amount}",
    );
    let parameters = parameters(&step, CONTEXT, outcome).expect("resolved");
    let expected = r#"{"a":{"n":[12345678901234567890,1.10,"$5"],"to":"Ann"},"m":1.50,"z":{"n": 1}}"#;
    assert_eq!(parameters, expected);
}

#[test]
fn without_inputs_a_step_gets_the_context_and_the_results_of_its_parents() {
    let parameters = parameters(&step(""), CONTEXT, outcome).expect("resolved");
    let expected = format!(
        r#"{{"context":{CONTEXT},"steps":{{"pay":{{"amount": 1.50, "lines": [ {{"n": 1}} ]}},"reserve":null}}}}"#
    );
    assert_eq!(parameters, expected);
}

#[test]
fn a_failed_parent_has_its_error_and_a_skipped_one_is_null() {
    let failed = |name: &str| {
        let failed = StepOutcome::Failed("no \"card\"");
        (name == "pay").then_some(failed).or(Some(StepOutcome::Skipped))
    };
    let with = step(", with: {whole: $pay, error: $pay.error, path: $pay.amount, skipped: $reserve.a.b}");
    assert_eq!(
        parameters(&with, CONTEXT, failed).expect("resolved"),
        r#"{"error":"no \"card\"","path":null,"skipped":null,"whole":{"error":"no \"card\""}}"#
    );
    assert_eq!(
        parameters(&step(""), "{}", failed).expect("resolved"),
        r#"{"context":{},"steps":{"pay":{"error":"no \"card\""},"reserve":null}}"#
    );
}

#[test]
fn a_path_that_is_not_there_fails_the_step_with_its_reason() {
    for with in ["$pay.total", "$pay.lines[1]", "$context.id.x", "$reserve.a"] {
        let error = parameters(&step(&format!(", with: {{a: '{with}'}}")), CONTEXT, outcome).expect_err(with);
        assert_eq!(error.reason(), "unresolved_reference");
        assert!(error.to_string().contains(with), "{error}");
    }
    let unknown = parameters(&step(", with: {a: $pay}"), CONTEXT, |_| None);
    assert_eq!(unknown.expect_err("unknown").reason(), "unresolved_reference");
}

#[test]
fn inputs_above_the_limit_are_rejected() {
    let large = format!("\"{}\"", "x".repeat(INPUT_BYTES / 2));
    let twice = step(", with: {a: $context, b: $context}");
    assert_eq!(parameters(&twice, &large, outcome), Err(ResolveError::TooLarge));
}

#[test]
fn the_steps_that_a_step_reads_are_those_that_it_refers_to_or_its_parents() {
    assert_eq!(steps_read(&step("")), ["pay", "reserve"].into());
    assert!(reads_context(&step("")));
    let one = step(", with: {a: [{b: $pay.x}], c: 1}");
    assert_eq!((steps_read(&one), reads_context(&one)), (["pay"].into(), false));
    assert!(reads_context(&step(", with: {a: [$context.x]}")));
}

#[test]
fn an_output_is_resolved_as_an_input_is() {
    let step = step(", with: {a: {paid: $pay.amount}}");
    let output = &step.inputs.as_ref().expect("inputs")["a"];
    assert_eq!(
        value(output, CONTEXT, outcome).expect("resolved"),
        r#"{"paid":1.50}"#
    );
}

fn named(pattern: &str) -> Result<String, ResolveError> {
    instance_name(&InstanceName::parse(pattern).expect("valid"), CONTEXT)
}

#[test]
fn the_name_of_an_instance_holds_values_of_the_context() {
    assert_eq!(named("order-$context.name").as_deref(), Ok("order-Ann"));
    assert_eq!(
        named("$context.id $$5 ($context.tags[1])").as_deref(),
        Ok("7.10 $5 (b)")
    );
    assert!(matches!(
        named("$context.tags"),
        Err(ResolveError::NotText { .. })
    ));
    assert!(matches!(
        named("$context.missing"),
        Err(ResolveError::NotThere { .. })
    ));
    let long = format!("{}$context.name", "x".repeat(240));
    assert!(named(&long).is_ok());
    let longer = instance_name(
        &InstanceName::parse("$context.a").expect("valid"),
        &format!(r#"{{"a": "{}"}}"#, "x".repeat(256)),
    );
    assert_eq!(longer, Err(ResolveError::InstanceName));
}
