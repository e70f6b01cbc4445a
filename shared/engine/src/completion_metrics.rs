//! Completion metrics: counts runs once their completions are written, since only the write decides the
//! outcome.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{Histogram, counter, histogram};
use tasker_core::task::{Run, TaskId, TaskStatus};

/// The facts about a finished run for counters and log lines.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) run: Run,
    pub(crate) task_name: String,
    pub(crate) correlation_id: String,
    pub(crate) attempt: i32,
    pub(crate) max_attempts: i32,
    pub(crate) elapsed: Duration,
    /// The place of the handler's panic, as `file:line`.
    pub(crate) panicked_at: Option<String>,
}

/// The finished runs of a batch, by task.
#[derive(Default)]
pub(crate) struct CompletionMetrics {
    runs: HashMap<TaskId, Summary>,
}

/// The outcome of a run, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Count {
    Completed,
    Cancelled,
    Retried { attempt: i32 },
    DeadLetter,
    Released,
}

impl CompletionMetrics {
    pub(crate) fn add(&mut self, run: Summary) {
        self.runs.insert(run.run.task, run);
    }

    /// Returns the run of `task`; `None` if it is not in the batch.
    pub(crate) fn get(&self, task: TaskId) -> Option<&Summary> {
        self.runs.get(&task)
    }

    /// Counts runs by the states that their tasks have now. Looking up a counter costs more than counting, so
    /// equal outcomes are added up first.
    pub(crate) fn count(&self, ended: impl IntoIterator<Item = (TaskId, TaskStatus)>) {
        let mut counts: HashMap<(&str, Count), u64> = HashMap::new();
        let mut durations: HashMap<&str, Histogram> = HashMap::new();
        for (task, status) in ended {
            let Some(facts) = self.get(task) else { continue };
            let count = Count::of(status, facts.attempt);
            *counts.entry((&facts.task_name, count)).or_default() += 1;
            if count != Count::Released {
                durations
                    .entry(&facts.task_name)
                    .or_insert_with_key(
                        |name| histogram!("task_duration_seconds", "type" => (*name).to_owned()),
                    )
                    .record(facts.elapsed);
            }
        }
        for ((name, count), runs) in counts {
            count.add(name, runs);
        }
    }
}

impl Count {
    fn of(status: TaskStatus, attempt: i32) -> Self {
        match status {
            TaskStatus::Completed => Self::Completed,
            TaskStatus::Cancelled => Self::Cancelled,
            TaskStatus::RetryScheduled => Self::Retried { attempt },
            TaskStatus::DeadLetter => Self::DeadLetter,
            // no attempt took place
            _ => Self::Released,
        }
    }

    fn add(self, task_name: &str, runs: u64) {
        let name = || task_name.to_owned();
        let how = match self {
            Self::Completed => "success",
            Self::Cancelled => "cancelled",
            Self::Retried { attempt } => {
                let attempt = attempt.to_string();
                counter!("task_retries_total", "type" => name(), "attempt" => attempt).increment(runs);
                "failed"
            }
            Self::DeadLetter => {
                counter!("tasks_dead_letter_total", "type" => name()).increment(runs);
                "failed"
            }
            Self::Released => return counter!("tasker_released_runs_total").increment(runs),
        };
        counter!("tasks_completed_total", "type" => name(), "status" => how).increment(runs);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_run_is_counted_by_what_became_of_its_task() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let statuses = [
            TaskStatus::Completed,
            TaskStatus::Cancelled,
            TaskStatus::Cancelled,
            TaskStatus::RetryScheduled,
            TaskStatus::DeadLetter,
            TaskStatus::Pending,
        ];
        let ended: Vec<_> = statuses.map(|status| (TaskId::generate(), status)).into();
        let mut finished = CompletionMetrics::default();
        for (task, _) in &ended {
            finished.add(Summary {
                run: Run {
                    task: *task,
                    number: 2,
                },
                task_name: "t".to_owned(),
                correlation_id: "c".to_owned(),
                attempt: 2,
                max_attempts: 3,
                elapsed: Duration::from_secs(1),
                panicked_at: None,
            });
        }
        let late = (TaskId::generate(), TaskStatus::Completed);
        metrics::with_local_recorder(&recorder, || finished.count(ended.into_iter().chain([late])));
        let text = recorder.handle().render();
        for line in [
            r#"tasks_completed_total{type="t",status="success"} 1"#,
            r#"tasks_completed_total{type="t",status="cancelled"} 2"#,
            r#"tasks_completed_total{type="t",status="failed"} 2"#,
            r#"task_retries_total{type="t",attempt="2"} 1"#,
            r#"tasks_dead_letter_total{type="t"} 1"#,
            "tasker_released_runs_total 1",
            r#"task_duration_seconds_count{type="t"} 5"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
