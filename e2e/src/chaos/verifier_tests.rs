use super::*;

fn row(number: u128, tag: &str) -> Row {
    Row {
        id: Uuid::from_u128(number),
        correlation_id: tag.to_owned(),
        idempotency_key: None,
        status: "completed".to_owned(),
        reason: None,
        runs: 1,
        attempts: 1,
        max_attempts: 4,
        crash_count: 0,
    }
}

fn submit(tag: &str, size: usize, answer: Answer) -> Submit {
    Submit {
        tag: tag.to_owned(),
        kind: Kind::Succeeding,
        size,
        key: None,
        answer,
    }
}

fn new(numbers: &[u128]) -> Answer {
    Answer::New(numbers.iter().map(|number| Uuid::from_u128(*number)).collect())
}

fn rules(submits: Vec<Submit>, rows: &[Row]) -> Vec<&'static str> {
    let entries = Entries {
        submits,
        ..Entries::default()
    };
    verify(&entries, rows).into_iter().map(|(rule, _)| rule).collect()
}

#[test]
fn a_correct_run_has_no_violations() {
    let submits = vec![
        submit("a", 1, new(&[1])),
        submit("b", 2, new(&[2, 3])),
        submit("c", 1, Answer::NothingDone),
        submit("d", 1, Answer::Unknown),
        submit("e", 2, Answer::Unknown),
    ];
    let rows = [
        row(1, "a"),
        row(2, "b/0"),
        row(3, "b/1"),
        row(4, "e/0"),
        row(5, "e/1"),
    ];
    assert_eq!(rules(submits, &rows), [""; 0]);
}

#[test]
fn a_lost_a_doubled_and_an_unknown_task_are_reported() {
    assert_eq!(
        rules(vec![submit("a", 1, new(&[1]))], &[]),
        ["exactly the acknowledged tasks of a request exist"]
    );
    assert_eq!(
        rules(vec![submit("a", 1, new(&[1]))], &[row(1, "a"), row(1, "a")]),
        ["a task has one row"]
    );
    assert_eq!(rules(vec![], &[row(1, "z")]), ["every task belongs to a request"]);
}

#[test]
fn half_a_batch_and_a_rejected_task_are_reported() {
    assert_eq!(
        rules(vec![submit("a", 2, Answer::Unknown)], &[row(1, "a/0")]),
        ["a batch is stored as a whole or not at all"]
    );
    assert_eq!(
        rules(vec![submit("a", 1, Answer::NothingDone)], &[row(1, "a")]),
        ["a rejected submit creates no task"]
    );
}

#[test]
fn a_key_with_two_tasks_is_reported() {
    let keyed = |number, tag| Row {
        idempotency_key: Some("k".to_owned()),
        ..row(number, tag)
    };
    let submit = |tag, number| Submit {
        key: Some("k".to_owned()),
        ..submit(tag, 1, new(&[number]))
    };
    let seen = rules(
        vec![submit("a", 1), submit("b", 2)],
        &[keyed(1, "a"), keyed(2, "b")],
    );
    assert_eq!(
        seen,
        ["a key has one row", "every response to a key names its task"]
    );
}

#[test]
fn an_unfinished_task_and_a_crash_without_a_run_are_reported() {
    let running = Row {
        status: "running".to_owned(),
        ..row(1, "a")
    };
    assert_eq!(
        rules(vec![submit("a", 1, new(&[1]))], &[running]),
        ["every task ends with the status of its kind"]
    );
    let crashed = Row {
        crash_count: 1,
        ..row(1, "a")
    };
    assert_eq!(
        rules(vec![submit("a", 1, new(&[1]))], &[crashed]),
        ["each attempt and each crash was a run"]
    );
}

#[test]
fn an_accepted_cancellation_without_effect_is_reported() {
    let entries = Entries {
        submits: vec![submit("a", 1, new(&[1]))],
        cancels: vec![(Uuid::from_u128(1), CancelAnswer::Accepted)],
        ..Entries::default()
    };
    let violations = verify(&entries, &[row(1, "a")]);
    assert_eq!(violations[0].0, "an accepted cancellation takes effect");
}
