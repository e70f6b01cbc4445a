//! Counts the ends of runs, once they are written: only then it is known how each ended.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{counter, histogram};
use tasker_shared::task::{TaskId, TaskStatus};

use crate::complete::Finished;

/// What the counters need to know of the runs of a batch.
pub(crate) struct Tally {
    runs: HashMap<TaskId, Facts>,
}

struct Facts {
    task_name: String,
    attempt: i32,
    elapsed: Duration,
}

impl Tally {
    pub(crate) fn of(batch: &[Finished]) -> Self {
        let runs = batch.iter().map(|finished| {
            let facts = Facts {
                task_name: finished.task_name.clone(),
                attempt: finished.attempt,
                elapsed: finished.elapsed,
            };
            (finished.run.task, facts)
        });
        Self { runs: runs.collect() }
    }

    /// Counts a run whose task is in this state now.
    pub(crate) fn count(&self, task: TaskId, status: TaskStatus) {
        if let Some(facts) = self.runs.get(&task) {
            count(facts, status);
        }
    }
}

fn count(facts: &Facts, status: TaskStatus) {
    let name = || facts.task_name.clone();
    let how = match status {
        TaskStatus::Completed => "success",
        TaskStatus::Cancelled => "cancelled",
        TaskStatus::RetryScheduled => {
            let attempt = facts.attempt.to_string();
            counter!("task_retries_total", "type" => name(), "attempt" => attempt).increment(1);
            "failed"
        }
        TaskStatus::DeadLetter => {
            counter!("tasks_dead_letter_total", "type" => name()).increment(1);
            "failed"
        }
        // given back: no attempt took place
        _ => return counter!("tasker_given_back_runs_total").increment(1),
    };
    counter!("tasks_completed_total", "type" => name(), "status" => how).increment(1);
    histogram!("task_duration_seconds", "type" => name()).record(facts.elapsed);
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_run_is_counted_by_what_became_of_its_task() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let facts = Facts {
            task_name: "t".to_owned(),
            attempt: 2,
            elapsed: Duration::from_secs(1),
        };
        metrics::with_local_recorder(&recorder, || {
            for status in [
                TaskStatus::Completed,
                TaskStatus::Cancelled,
                TaskStatus::Cancelled,
                TaskStatus::RetryScheduled,
                TaskStatus::DeadLetter,
                TaskStatus::Pending,
            ] {
                count(&facts, status);
            }
        });
        let text = recorder.handle().render();
        for line in [
            r#"tasks_completed_total{type="t",status="success"} 1"#,
            r#"tasks_completed_total{type="t",status="cancelled"} 2"#,
            r#"tasks_completed_total{type="t",status="failed"} 2"#,
            r#"task_retries_total{type="t",attempt="2"} 1"#,
            r#"tasks_dead_letter_total{type="t"} 1"#,
            "tasker_given_back_runs_total 1",
            r#"task_duration_seconds_count{type="t"} 5"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
