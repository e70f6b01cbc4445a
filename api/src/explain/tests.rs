use super::*;

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("in range")
}

/// Returns the facts of a pending task of `default`, first in its list, with one idle worker that can run it.
fn facts() -> Facts {
    Facts {
        now: time(1_000),
        status: TaskStatus::Pending,
        task_name: "echo".to_owned(),
        queue: QueueName::default_class(),
        attempts: 0,
        max_attempts: 4,
        crash_count: 0,
        worker_id: None,
        dead_reason: None,
        enqueued_at: Some(time(990)),
        run_at: None,
        started_at: None,
        completed_at: None,
        cancel_requested_at: None,
        paused_at: None,
        serving: 1,
        able: 1,
        able_slots: 10,
        able_active: 0,
        able_with_suspect: 0,
        served_before: Vec::new(),
        ahead: Some(0),
        finished_lately: 0,
        finished_since: None,
        lost_at: None,
        lost_worker_id: None,
    }
}

fn explained(facts: &Facts) -> Explanation {
    explain(TaskId::MIN, facts)
}

fn codes(facts: &Facts) -> Vec<String> {
    let reasons = explained(facts).reasons.into_iter();
    reasons.map(|reason| reason.code).collect()
}

fn details(facts: &Facts) -> String {
    let reasons = explained(facts).reasons.into_iter();
    reasons.map(|reason| reason.detail).collect::<Vec<_>>().join("; ")
}

#[test]
fn an_unblocked_task_waits_its_turn_behind_those_ahead_of_it() {
    let mut task = facts();
    assert_eq!(codes(&task), ["waits_its_turn"]);
    assert!(
        details(&task).contains("the next in its queue"),
        "{}",
        details(&task)
    );
    task.ahead = Some(7);
    task.served_before = vec![QueueName::high()];
    assert_eq!(codes(&task), ["waits_its_turn", "other_queues_first"]);
    assert!(details(&task).contains("7 tasks") && details(&task).contains("high_priority"));
    assert_eq!(explained(&task).position, Some(7));
}

#[test]
fn beyond_what_is_counted_there_is_no_position_and_no_guess() {
    let task = Facts {
        ahead: Some(AHEAD_MAX + 1),
        finished_lately: 100,
        finished_since: Some(time(900)),
        ..facts()
    };
    let explained = explained(&task);
    assert_eq!(
        (explained.position, explained.estimated_wait_seconds),
        (None, None)
    );
    assert!(details(&task).contains("more than 10000"), "{}", details(&task));
}

#[test]
fn the_guess_is_the_pace_of_those_that_finished_last_if_they_are_enough() {
    let mut task = Facts {
        ahead: Some(19),
        finished_lately: 40,
        finished_since: Some(time(980)),
        ..facts()
    };
    assert_eq!(explained(&task).estimated_wait_seconds, Some(10.0));
    task.finished_lately = FINISHED_MIN - 1;
    assert_eq!(explained(&task).estimated_wait_seconds, None);
    task.finished_lately = 40;
    task.finished_since = Some(task.now);
    assert_eq!(explained(&task).estimated_wait_seconds, None);
}

#[test]
fn what_blocks_it_comes_instead_of_its_turn_and_without_a_guess() {
    let mut task = Facts {
        finished_lately: 100,
        finished_since: Some(time(900)),
        ..facts()
    };
    task.able = 0;
    assert_eq!(codes(&task), ["no_worker_for_type"]);
    assert_eq!(explained(&task).position, None, "its hint is parked");
    let help = "start a worker that registers it and has `default` in TASK_QUEUES";
    assert!(details(&task).contains(help), "{}", details(&task));
    task.paused_at = Some(time(500));
    assert_eq!(codes(&task), ["no_worker_for_type", "queue_paused"]);
    task.paused_at = None;
    task.serving = 0;
    assert_eq!(codes(&task), ["no_worker_for_queue"]);
    task.paused_at = Some(time(500));
    assert_eq!(codes(&task), ["queue_paused", "no_worker_for_queue"]);
    let explained = explained(&task);
    assert_eq!(
        (explained.position, explained.estimated_wait_seconds),
        (Some(0), None)
    );
}

#[test]
fn a_suspect_is_blocked_only_while_every_worker_that_can_run_it_is_at_another() {
    let mut task = Facts {
        crash_count: 2,
        able: 2,
        able_with_suspect: 1,
        ..facts()
    };
    assert_eq!(codes(&task), ["waits_its_turn"]);
    task.able_with_suspect = 2;
    assert_eq!(codes(&task), ["suspect_runs_alone"]);
    task.crash_count = 1;
    assert_eq!(codes(&task), ["waits_its_turn"]);
}

#[test]
fn what_is_due_later_says_when() {
    let mut task = Facts {
        status: TaskStatus::Scheduled,
        enqueued_at: None,
        run_at: Some(time(1_060)),
        ahead: None,
        ..facts()
    };
    assert_eq!(codes(&task), ["due_later"]);
    assert_eq!(explained(&task).estimated_wait_seconds, Some(60.0));
    assert_eq!(details(&task), "it is due at 1970-01-01T00:17:40.000Z");
    task.run_at = Some(time(999));
    assert_eq!(explained(&task).estimated_wait_seconds, Some(0.0));
    task.status = TaskStatus::RetryScheduled;
    task.attempts = 2;
    task.serving = 0;
    assert_eq!(codes(&task), ["due_later", "no_worker_for_queue"]);
    assert!(details(&task).starts_with("attempt 2 of 4 failed; the next was due at"));
    assert_eq!(explained(&task).estimated_wait_seconds, None);
}

#[test]
fn a_suspect_that_was_deferred_says_why() {
    let mut task = Facts {
        status: TaskStatus::Scheduled,
        run_at: Some(time(1_003)),
        serving: 3,
        able: 1,
        ahead: None,
        ..facts()
    };
    assert_eq!(codes(&task), ["due_later"]);
    task.crash_count = 2;
    assert_eq!(codes(&task), ["due_later", "suspect_runs_alone"]);
    task.able = 0;
    assert_eq!(codes(&task), ["due_later", "no_worker_for_type"]);
    assert!(details(&task).contains("none of the 3"), "{}", details(&task));
}

#[test]
fn a_run_that_was_lost_is_reported_until_the_task_has_ended() {
    let mut task = Facts {
        crash_count: 1,
        lost_at: Some(time(900)),
        lost_worker_id: Some("worker-a".to_owned()),
        ..facts()
    };
    assert_eq!(codes(&task), ["waits_its_turn", "last_run_lost"]);
    assert!(details(&task).contains("worker-a at 1970-01-01T00:15:00.000Z; crash_count is 1"));
    task.status = TaskStatus::Completed;
    assert_eq!(codes(&task), ["finished"]);
}

#[test]
fn a_running_task_names_its_worker_and_a_requested_cancellation() {
    let mut task = Facts {
        status: TaskStatus::Running,
        worker_id: Some("worker-a".to_owned()),
        started_at: Some(time(995)),
        ahead: None,
        ..facts()
    };
    assert_eq!(codes(&task), ["running"]);
    assert!(details(&task).starts_with("worker-a has been running it since"));
    task.cancel_requested_at = Some(time(999));
    assert_eq!(codes(&task), ["running", "cancel_requested"]);
    assert_eq!(explained(&task).estimated_wait_seconds, None);
}

#[test]
fn an_ended_task_has_one_reason_and_one_that_waits_for_parents_too() {
    let task = |status| Facts {
        status,
        dead_reason: Some("exhausted".to_owned()),
        ahead: None,
        paused_at: Some(time(1)),
        ..facts()
    };
    for status in [
        TaskStatus::Completed,
        TaskStatus::Cancelled,
        TaskStatus::ResolvedManually,
        TaskStatus::Skipped,
        TaskStatus::DeadLetter,
    ] {
        assert_eq!(codes(&task(status)), ["finished"], "{status}");
    }
    assert!(details(&task(TaskStatus::DeadLetter)).contains("exhausted"));
    assert_eq!(codes(&task(TaskStatus::Waiting)), ["waiting_for_parents"]);
}
