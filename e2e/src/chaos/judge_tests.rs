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
        kind: Kind::Sound,
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
    judge(&entries, rows).into_iter().map(|(rule, _)| rule).collect()
}

#[test]
fn a_run_in_which_all_went_well_has_nothing_wrong() {
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
fn a_lost_a_doubled_and_an_unasked_task_are_seen() {
    assert_eq!(
        rules(vec![submit("a", 1, new(&[1]))], &[]),
        ["what was acknowledged is there, and nothing else"]
    );
    assert_eq!(
        rules(vec![submit("a", 1, new(&[1]))], &[row(1, "a"), row(1, "a")]),
        ["a task has one row"]
    );
    assert_eq!(rules(vec![], &[row(1, "z")]), ["every task was asked for"]);
}

#[test]
fn half_a_batch_and_a_task_that_was_refused_are_seen() {
    assert_eq!(
        rules(vec![submit("a", 2, Answer::Unknown)], &[row(1, "a/0")]),
        ["a request is there as a whole or not at all"]
    );
    assert_eq!(
        rules(vec![submit("a", 1, Answer::NothingDone)], &[row(1, "a")]),
        ["where nothing was done, nothing is there"]
    );
}

#[test]
fn a_key_with_two_tasks_is_seen() {
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
        ["a key has one row", "every answer to a key names its task"]
    );
}

#[test]
fn a_task_that_has_not_ended_and_a_crash_that_was_no_run_are_seen() {
    let running = Row {
        status: "running".to_owned(),
        ..row(1, "a")
    };
    assert_eq!(
        rules(vec![submit("a", 1, new(&[1]))], &[running]),
        ["every task ends as its kind must"]
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
fn a_cancellation_that_was_accepted_and_forgotten_is_seen() {
    let entries = Entries {
        submits: vec![submit("a", 1, new(&[1]))],
        cancels: vec![(Uuid::from_u128(1), CancelAnswer::Accepted)],
        ..Entries::default()
    };
    let wrongs = judge(&entries, &[row(1, "a")]);
    assert_eq!(wrongs[0].0, "a cancellation that was accepted holds");
}
