//! Builds the history of a task from its row and its stored events. Pure.
//!
//! The happy path stores no events: creation, last run and completion follow from the times of the row. An
//! event is stored when a run ends in another way or an operator acts; it carries the times at which the run
//! that it ended was enqueued and claimed.

use chrono::{DateTime, Utc};
use tasker_core::task::TaskStatus;
use tasker_store::history::Event;
use tasker_store::records::TaskRecord;
use tasker_wire::HistoryEvent;

/// Returns the state transitions of a task, oldest first.
pub fn timeline(record: &TaskRecord, events: &[Event]) -> Vec<HistoryEvent> {
    let mut timeline = Timeline::begin(record, events);
    for event in events {
        if let (Some(started_at), Some(run)) = (event.started_at, event.run) {
            timeline.claim(event.enqueued_at, started_at, run, event.worker_id.clone());
        }
        timeline.stored(event);
    }
    // after the events, since these three depend on the state that the events lead to
    timeline.last_run(record, events);
    timeline.deferred(record);
    timeline.end(record);
    let mut events = timeline.events;
    // a stable sort: transitions of the same instant keep the order in which they were added, cause before
    // effect
    events.sort_by_key(|event| event.at);
    events
}

/// The transitions so far, and the state that they lead to.
struct Timeline {
    events: Vec<HistoryEvent>,
    state: TaskStatus,
}

fn step(at: DateTime<Utc>, from: Option<TaskStatus>, to: TaskStatus) -> HistoryEvent {
    HistoryEvent {
        at,
        from,
        to,
        run: None,
        attempt: None,
        worker_id: None,
        reason: None,
        error: None,
        actor: None,
    }
}

impl Timeline {
    fn begin(record: &TaskRecord, events: &[Event]) -> Self {
        let state = first_state(record, events);
        Self {
            events: vec![step(record.created_at, None, state)],
            state,
        }
    }

    /// Adds the claim of a run, and before it the promotion if the task was due later.
    fn claim(
        &mut self,
        enqueued_at: Option<DateTime<Utc>>,
        started_at: DateTime<Utc>,
        run: i32,
        worker_id: Option<String>,
    ) {
        self.due(enqueued_at);
        self.events.push(HistoryEvent {
            run: Some(run),
            worker_id,
            reason: Some("claimed".to_owned()),
            ..step(started_at, Some(TaskStatus::Pending), TaskStatus::Running)
        });
        self.state = TaskStatus::Running;
    }

    /// Adds the promotion of a task that was due later.
    fn due(&mut self, enqueued_at: Option<DateTime<Utc>>) {
        let waited = matches!(
            self.state,
            TaskStatus::Waiting | TaskStatus::Scheduled | TaskStatus::RetryScheduled
        );
        if let (true, Some(at)) = (waited, enqueued_at) {
            let reason = if self.state == TaskStatus::Waiting {
                "parents_ended"
            } else {
                "due"
            };
            self.events.push(HistoryEvent {
                reason: Some(reason.to_owned()),
                ..step(at, Some(self.state), TaskStatus::Pending)
            });
            self.state = TaskStatus::Pending;
        }
    }

    fn stored(&mut self, event: &Event) {
        self.events.push(HistoryEvent {
            at: event.at,
            from: event.from,
            to: event.to,
            run: event.run,
            attempt: event.attempt,
            worker_id: event.worker_id.clone(),
            reason: event.reason.clone(),
            error: event.error.clone(),
            actor: event.actor.clone(),
        });
        // a cancellation request leaves a task running; the claim of its run may not have been added yet, so
        // `state` must stay
        if event.from != Some(event.to) {
            self.state = event.to;
        }
    }

    /// Adds the run that no event ended: it is still running, or it completed the task.
    fn last_run(&mut self, record: &TaskRecord, events: &[Event]) {
        let added = |event: &Event| event.run == Some(record.runs) && event.started_at == record.started_at;
        match record.started_at {
            Some(started_at) if !events.iter().any(added) => {
                self.claim(
                    record.enqueued_at,
                    started_at,
                    record.runs,
                    record.worker_id.clone(),
                );
            }
            None if record.status == TaskStatus::Pending => self.due(record.enqueued_at),
            _ => {}
        }
    }

    /// Adds the current deferral of a suspect. Past deferrals are not recorded.
    fn deferred(&mut self, record: &TaskRecord) {
        if record.status == TaskStatus::Scheduled && self.state == TaskStatus::Pending {
            self.events.push(HistoryEvent {
                reason: Some("deferred".to_owned()),
                ..step(record.updated_at, Some(self.state), TaskStatus::Scheduled)
            });
            self.state = TaskStatus::Scheduled;
        }
    }

    fn end(&mut self, record: &TaskRecord) {
        let Some(at) = record.completed_at.filter(|_| self.state != record.status) else {
            return;
        };
        self.events.push(HistoryEvent {
            run: Some(record.runs),
            attempt: Some(record.attempts),
            worker_id: record.worker_id.clone(),
            ..step(at, Some(self.state), record.status)
        });
        self.state = record.status;
    }
}

/// Returns the state in which the task was created. A row that was due later has a later `enqueued_at` than
/// `created_at`.
fn first_state(record: &TaskRecord, events: &[Event]) -> TaskStatus {
    let enqueued_at = match events.first() {
        None => record.enqueued_at,
        Some(event) if event.started_at.is_some() => event.enqueued_at,
        // the first event is an operator's, so its `from` is the state of creation
        Some(event) => {
            return event
                .from
                .filter(|from| *from != TaskStatus::Running)
                .unwrap_or(TaskStatus::Pending);
        }
    };
    match enqueued_at {
        Some(at) if at <= record.created_at => TaskStatus::Pending,
        None if record.status == TaskStatus::Waiting => TaskStatus::Waiting,
        // a step with parents; one without is pending at once
        _ if record.workflow_id.is_some() => TaskStatus::Waiting,
        _ => TaskStatus::Scheduled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tasker_core::task::{QueueName, TaskId};

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
    }

    fn record(status: TaskStatus) -> TaskRecord {
        TaskRecord {
            id: TaskId::MIN,
            task_name: "t".into(),
            queue: QueueName::default_class(),
            priority: 0,
            parameters: "{}".into(),
            metadata: "{}".into(),
            tags: Vec::new(),
            status,
            runs: 0,
            attempts: 0,
            max_attempts: 4,
            crash_count: 0,
            worker_id: None,
            idempotency_key: None,
            correlation_id: "c".into(),
            timeout_seconds: 60.0,
            progress: None,
            error: None,
            reason: None,
            created_at: time(0),
            enqueued_at: Some(time(0)),
            run_at: None,
            started_at: None,
            updated_at: time(0),
            result: None,
            completed_at: None,
            workflow_id: None,
            step: None,
            item: None,
        }
    }

    fn event(at: i64, from: TaskStatus, to: TaskStatus) -> Event {
        Event {
            at: time(at),
            from: Some(from),
            to,
            run: None,
            attempt: None,
            worker_id: None,
            reason: None,
            error: None,
            actor: None,
            enqueued_at: None,
            started_at: None,
        }
    }

    fn steps(record: &TaskRecord, events: &[Event]) -> String {
        let steps: Vec<String> = timeline(record, events)
            .iter()
            .map(|step| {
                let from = step.from.map_or("-", TaskStatus::as_str);
                format!("{} {from}>{}", (step.at - time(0)).num_seconds(), step.to)
            })
            .collect();
        steps.join(", ")
    }

    #[test]
    fn a_task_that_waits_was_only_created() {
        assert_eq!(steps(&record(TaskStatus::Pending), &[]), "0 ->pending");
        let scheduled = TaskRecord {
            enqueued_at: None,
            run_at: Some(time(9)),
            ..record(TaskStatus::Scheduled)
        };
        assert_eq!(steps(&scheduled, &[]), "0 ->scheduled");
    }

    #[test]
    fn the_happy_path_follows_from_the_row_alone() {
        let done = TaskRecord {
            runs: 1,
            attempts: 1,
            worker_id: Some("w".into()),
            started_at: Some(time(2)),
            completed_at: Some(time(3)),
            ..record(TaskStatus::Completed)
        };
        assert_eq!(
            steps(&done, &[]),
            "0 ->pending, 2 pending>running, 3 running>completed"
        );
        let delayed = TaskRecord {
            enqueued_at: Some(time(1)),
            ..done
        };
        assert_eq!(
            steps(&delayed, &[]),
            "0 ->scheduled, 1 scheduled>pending, 2 pending>running, 3 running>completed"
        );
    }

    #[test]
    fn a_retry_shows_both_runs() {
        let failed = Event {
            run: Some(1),
            attempt: Some(1),
            enqueued_at: Some(time(0)),
            started_at: Some(time(1)),
            ..event(2, TaskStatus::Running, TaskStatus::RetryScheduled)
        };
        let running = TaskRecord {
            runs: 2,
            attempts: 1,
            worker_id: Some("w".into()),
            enqueued_at: Some(time(5)),
            started_at: Some(time(6)),
            ..record(TaskStatus::Running)
        };
        assert_eq!(
            steps(&running, &[failed]),
            "0 ->pending, 1 pending>running, 2 running>retry_scheduled, 5 retry_scheduled>pending, 6 pending>running"
        );
    }

    #[test]
    fn a_suspect_that_is_deferred_shows_it_and_one_that_waited_long_does_not() {
        let lost = Event {
            run: Some(1),
            enqueued_at: Some(time(0)),
            started_at: Some(time(1)),
            ..event(2, TaskStatus::Running, TaskStatus::Pending)
        };
        let deferred = TaskRecord {
            runs: 1,
            started_at: Some(time(1)),
            run_at: Some(time(9)),
            updated_at: time(5),
            ..record(TaskStatus::Scheduled)
        };
        assert_eq!(
            steps(&deferred, &[lost]),
            "0 ->pending, 1 pending>running, 2 running>pending, 5 pending>scheduled"
        );
        let parked_for_long = TaskRecord {
            runs: 1,
            started_at: Some(time(3_000)),
            worker_id: Some("w".into()),
            ..record(TaskStatus::Running)
        };
        assert_eq!(steps(&parked_for_long, &[]), "0 ->pending, 3000 pending>running");
    }

    #[test]
    fn a_dead_letter_ends_with_its_event_and_is_not_shown_twice() {
        let gone = Event {
            run: Some(1),
            enqueued_at: Some(time(0)),
            started_at: Some(time(1)),
            ..event(2, TaskStatus::Running, TaskStatus::DeadLetter)
        };
        let dead = TaskRecord {
            runs: 1,
            started_at: Some(time(1)),
            ..record(TaskStatus::DeadLetter)
        };
        assert_eq!(
            steps(&dead, &[gone]),
            "0 ->pending, 1 pending>running, 2 running>dead_letter"
        );
    }

    #[test]
    fn a_running_task_whose_cancellation_was_requested_ends_cancelled() {
        let requested = event(2, TaskStatus::Running, TaskStatus::Running);
        let cancelled = TaskRecord {
            runs: 1,
            worker_id: Some("w".into()),
            started_at: Some(time(1)),
            completed_at: Some(time(3)),
            ..record(TaskStatus::Cancelled)
        };
        assert_eq!(
            steps(&cancelled, &[requested]),
            "0 ->pending, 1 pending>running, 2 running>running, 3 running>cancelled"
        );
    }

    #[test]
    fn a_cancelled_task_that_was_retried_goes_on() {
        let events = [
            event(1, TaskStatus::Scheduled, TaskStatus::Cancelled),
            event(4, TaskStatus::Cancelled, TaskStatus::Pending),
        ];
        let pending = TaskRecord {
            enqueued_at: Some(time(4)),
            ..record(TaskStatus::Pending)
        };
        assert_eq!(
            steps(&pending, &events),
            "0 ->scheduled, 1 scheduled>cancelled, 4 cancelled>pending"
        );
    }
}
