//! Explains why a task is not running, from facts that were read in one statement. Pure.

use chrono::{DateTime, SecondsFormat, Utc};
use tasker_core::task::limits::SUSPECT_CRASHES;
use tasker_core::task::{QueueName, TaskId, TaskStatus};
use tasker_store::explain::{AHEAD_MAX, Facts};
use tasker_wire::{Explanation, Reason};

/// Minimum number of recently finished tasks for an estimate.
const FINISHED_MIN: i64 = 5;

/// Returns the reasons, the cause first, with the position and the estimated wait where these apply.
pub fn explain(task_id: TaskId, facts: &Facts) -> Explanation {
    let blocks = blocks(facts);
    let blocked = !blocks.is_empty();
    // the first reason is the cause; what only explains it further follows
    let mut reasons = match facts.status {
        TaskStatus::Waiting => vec![reason(
            "waiting_for_parents",
            "it runs when its parents have finished",
        )],
        TaskStatus::Scheduled | TaskStatus::RetryScheduled => later(facts, blocks),
        TaskStatus::Pending if blocked => blocks,
        TaskStatus::Pending => its_turn(facts),
        TaskStatus::Running => running(facts),
        TaskStatus::Completed
        | TaskStatus::DeadLetter
        | TaskStatus::Cancelled
        | TaskStatus::ResolvedManually
        | TaskStatus::Skipped => vec![finished(facts)],
    };
    if !facts.status.is_terminal() {
        reasons.extend(lost(facts));
    }
    Explanation {
        task_id,
        status: facts.status,
        reasons,
        position: facts
            .ahead
            .filter(|ahead| *ahead <= AHEAD_MAX && !is_unroutable(facts)),
        estimated_wait_seconds: if blocked { None } else { estimate(facts) },
    }
}

fn reason(code: &str, detail: impl Into<String>) -> Reason {
    Reason {
        code: code.to_owned(),
        detail: detail.into(),
    }
}

fn at(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Returns true if live workers serve its queue and none of them registers its type: its hint is parked until
/// one does.
fn is_unroutable(facts: &Facts) -> bool {
    facts.serving > 0 && facts.able == 0
}

/// Returns the conditions that keep it from running until an operator changes them. A missing type comes
/// first: neither resuming the queue nor more of the same workers would help.
fn blocks(facts: &Facts) -> Vec<Reason> {
    let (queue, name) = (&facts.queue, &facts.task_name);
    let mut blocks = Vec::new();
    if is_unroutable(facts) {
        let detail = format!(
            "none of the {} live workers that serve the queue `{queue}` registers the type `{name}`; start a worker that \
             registers it and has `{queue}` in TASK_QUEUES, or cancel the task",
            facts.serving
        );
        blocks.push(reason("no_worker_for_type", detail));
    }
    if let Some(since) = facts.paused_at {
        let detail = format!(
            "the queue `{queue}` has been paused since {}; resume it",
            at(since)
        );
        blocks.push(reason("queue_paused", detail));
    }
    if facts.serving == 0 {
        let detail = format!("no live worker serves the queue `{queue}`; start one with it in TASK_QUEUES");
        blocks.push(reason("no_worker_for_queue", detail));
    } else if facts.able > 0 && is_suspect(facts) && facts.able_with_suspect >= facts.able {
        let detail = format!(
            "{} workers died while they ran it, and a worker runs one such task at a time; all {} that can run it are running \
             another",
            facts.crash_count, facts.able
        );
        blocks.push(reason("suspect_runs_alone", detail));
    }
    blocks
}

fn is_suspect(facts: &Facts) -> bool {
    facts.crash_count >= SUSPECT_CRASHES
}

/// Returns the reasons of a task that is due later: submitted with a delay, to be retried, or deferred as a
/// suspect.
fn later(facts: &Facts, blocks: Vec<Reason>) -> Vec<Reason> {
    let due = facts.run_at.unwrap_or(facts.now);
    let when = if due > facts.now {
        format!("is due at {}", at(due))
    } else {
        format!(
            "was due at {}, and a server makes it pending at its next check",
            at(due)
        )
    };
    // only a deferral takes a task back from pending to scheduled, so one that was enqueued before was
    // deferred
    let deferred = facts.status == TaskStatus::Scheduled && facts.enqueued_at.is_some();
    let detail = match facts.status {
        TaskStatus::RetryScheduled => format!(
            "attempt {} of {} failed; the next {when}",
            facts.attempts, facts.max_attempts
        ),
        _ => format!("it {when}"),
    };
    let mut reasons = vec![reason("due_later", detail)];
    if deferred && is_suspect(facts) && blocks.is_empty() {
        let detail = format!(
            "{} workers died while they ran it, and the worker that claimed it was running another such task: a worker runs one \
             at a time",
            facts.crash_count
        );
        reasons.push(reason("suspect_runs_alone", detail));
    }
    reasons.extend(blocks);
    reasons
}

/// Returns the reasons of a task that could run but waits behind others.
fn its_turn(facts: &Facts) -> Vec<Reason> {
    let before = match facts.ahead {
        Some(0) => "it is the next in its queue".to_owned(),
        Some(1) => "one task of its queue is ahead of it".to_owned(),
        Some(ahead) if ahead <= AHEAD_MAX => format!("{ahead} tasks of its queue are ahead of it"),
        Some(_) => format!("more than {AHEAD_MAX} tasks of its queue are ahead of it"),
        None => "its position is unknown: many tasks ahead of it have types that no live worker registers"
            .to_owned(),
    };
    let detail = format!(
        "{before}; live workers that can run it: {}, with {} of {} slots taken at their last heartbeats",
        facts.able, facts.able_active, facts.able_slots
    );
    let mut reasons = vec![reason("waits_its_turn", detail)];
    if !facts.served_before.is_empty() {
        let names: Vec<&str> = facts.served_before.iter().map(QueueName::as_str).collect();
        let detail = format!(
            "workers that serve its queue run tasks of {} first",
            names.join(", ")
        );
        reasons.push(reason("other_queues_first", detail));
    }
    reasons
}

fn running(facts: &Facts) -> Vec<Reason> {
    let worker = facts.worker_id.as_deref().unwrap_or("a worker");
    let since = facts.started_at.map(|time| format!(" since {}", at(time)));
    let detail = format!("{worker} has been running it{}", since.unwrap_or_default());
    let mut reasons = vec![reason("running", detail)];
    if let Some(asked) = facts.cancel_requested_at {
        let detail = format!(
            "cancellation was requested at {}; its handler has been notified",
            at(asked)
        );
        reasons.push(reason("cancel_requested", detail));
    }
    reasons
}

fn finished(facts: &Facts) -> Reason {
    let when = facts.completed_at.map(|time| format!(" at {}", at(time)));
    let when = when.unwrap_or_default();
    let detail = match facts.status {
        TaskStatus::DeadLetter => format!(
            "it is a dead letter ({}) after {} of {} attempts; an operator may retry it",
            facts.dead_reason.as_deref().unwrap_or("no reason"),
            facts.attempts,
            facts.max_attempts
        ),
        TaskStatus::Cancelled => format!("it was cancelled{when}"),
        TaskStatus::ResolvedManually => format!("an operator resolved it{when}"),
        TaskStatus::Skipped => format!("it was skipped{when}: its parents gave no reason to run it"),
        _ => format!("it completed{when}"),
    };
    reason("finished", detail)
}

fn lost(facts: &Facts) -> Option<Reason> {
    let lost_at = facts.lost_at?;
    let detail = format!(
        "a run of it was lost with its worker {} at {}; crash_count is {}",
        facts.lost_worker_id.as_deref().unwrap_or("(unknown)"),
        at(lost_at),
        facts.crash_count
    );
    Some(reason("last_run_lost", detail))
}

/// Returns the estimated wait in seconds: the time until it is due, or the number of tasks ahead of it at the
/// rate of the last finished ones. `None` if too few finished for a rate.
fn estimate(facts: &Facts) -> Option<f64> {
    match facts.status {
        TaskStatus::Scheduled | TaskStatus::RetryScheduled => {
            Some(seconds_between(facts.now, facts.run_at?).max(0.0))
        }
        TaskStatus::Pending => {
            let turns = facts.ahead.filter(|ahead| *ahead <= AHEAD_MAX)? + 1;
            let elapsed = seconds_between(facts.finished_since?, facts.now);
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            let guess = turns as f64 * elapsed / facts.finished_lately as f64;
            (facts.finished_lately >= FINISHED_MIN && elapsed > 0.0).then_some(guess)
        }
        _ => None,
    }
}

fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).as_seconds_f64()
}

#[cfg(test)]
mod tests;
