//! The steady state after the faults: every worker runs tasks, and the counters match the rows.
//!
//! Counters live in processes, most of which were killed. So their values after the faults are only lower
//! bounds of the rows; what they count in the steady state must be exact.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tasker_testkit::http_client;
use uuid::Uuid;

use super::final_checks::within;
use super::fleet::{Fleet, Member, RARE_TYPE, SLOTS};
use super::http::{Response, ask};
use super::ledger::{Answer, Kind, Ledger, Submit};
use super::plan::SERVERS;

/// Time for the tasks of this part, far more than they need.
const COMPLETION_TIMEOUT: Duration = Duration::from_mins(1);
/// Duration of one task, so long that no worker can run the others' share.
const EACH_SECONDS: f64 = 0.3;
/// One priority for each of the three queues.
const PRIORITIES: [i32; 3] = [10, 0, -10];

/// Submits more tasks than there are slots until each worker has completed some, then compares counters and
/// rows.
///
/// # Errors
/// If Postgres does not respond.
pub(super) async fn check(fleet: &Fleet, ledger: &Ledger) -> sqlx::Result<()> {
    lower_bounds(fleet).await?;
    let before = Counters::read(fleet).await;
    let began = Instant::now();
    let mut idle: BTreeSet<String> = fleet.workers().iter().map(Member::name).collect();
    let mut submitted = 0;
    for round in 0.. {
        let ids = submit_round(fleet, ledger, round).await;
        submitted += ids.len();
        if !within(COMPLETION_TIMEOUT, async || {
            all_completed(fleet, &ids).await.unwrap_or(false)
        })
        .await
        {
            fleet.log.violation(
                "tasks submitted in the steady state complete in time",
                &format!("round {round}"),
            );
            break;
        }
        for name in workers_of(fleet, &ids).await? {
            idle.retain(|worker| !name.starts_with(&format!("{worker}-")));
        }
        if idle.is_empty() || began.elapsed() > COMPLETION_TIMEOUT {
            break;
        }
    }
    for worker in idle {
        fleet.log.violation("every worker completes tasks", &worker);
    }
    equal(fleet, &before, submitted).await;
    registered(fleet).await
}

async fn submit_round(fleet: &Fleet, ledger: &Ledger, round: usize) -> Vec<Uuid> {
    let http = http_client().build().expect("a client without options");
    let mut ids = Vec::new();
    for (number, priority) in PRIORITIES.into_iter().enumerate() {
        let tag = format!("steady{round}-{number}");
        let size = fleet.workers().len() * SLOTS;
        let tasks: Vec<Value> = (0..size)
            .map(|index| {
                let mut task = if index % fleet.workers().len() == 0 {
                    json!({"task_name": RARE_TYPE, "parameters": {"seconds": EACH_SECONDS}})
                } else {
                    json!({"task_name": "example_long_running", "parameters": {"duration": EACH_SECONDS}})
                };
                task["priority"] = json!(priority);
                task["correlation_id"] = json!(format!("{tag}/{index}"));
                task
            })
            .collect();
        let url = format!("{}/tasks/submit/batch", fleet.server(number % SERVERS));
        let response = ask(&fleet.log, http.post(url).json(&json!({"tasks": tasks}))).await;
        let Response::Complete(202, body) = response else {
            fleet.log.violation(
                "tasks submitted in the steady state are accepted",
                &format!("{response:?}"),
            );
            continue;
        };
        let new: Vec<Uuid> = body["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(super::http::id_of)
            .collect();
        ids.extend(&new);
        ledger.submitted(Submit {
            tag,
            kind: Kind::Succeeding,
            size,
            key: None,
            answer: Answer::New(new),
        });
    }
    ids
}

async fn all_completed(fleet: &Fleet, ids: &[Uuid]) -> sqlx::Result<bool> {
    let sql = "SELECT count(*) FROM finished_tasks WHERE id = ANY($1) AND status = 'completed'";
    let done: i64 = sqlx::query_scalar(sql).bind(ids).fetch_one(&fleet.db).await?;
    Ok(usize::try_from(done).is_ok_and(|done| done == ids.len()))
}

async fn workers_of(fleet: &Fleet, ids: &[Uuid]) -> sqlx::Result<Vec<String>> {
    let sql = "SELECT DISTINCT worker_id FROM finished_tasks WHERE id = ANY($1)";
    sqlx::query_scalar(sql).bind(ids).fetch_all(&fleet.db).await
}

/// Sums of the counters of all processes.
#[derive(Debug, PartialEq)]
struct Counters {
    enqueued: u64,
    succeeded: u64,
}

impl Counters {
    async fn read(fleet: &Fleet) -> Self {
        let mut read = Self {
            enqueued: 0,
            succeeded: 0,
        };
        let http = http_client().build().expect("a client without options");
        for member in &fleet.members {
            let answer = http.get(format!("{}/metrics", member.url())).send().await;
            let text = match answer {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            read.enqueued += sum(&text, "tasks_enqueued_total", "");
            read.succeeded += sum(&text, "tasks_completed_total", r#"status="success""#);
        }
        read
    }
}

/// Returns the sum of the samples of a metric with a label.
fn sum(text: &str, metric: &str, label: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?.strip_prefix('{')?;
        let (labels, value) = rest.rsplit_once(' ')?;
        labels.contains(label).then(|| value.parse::<u64>().ok())?
    });
    values.sum()
}

async fn lower_bounds(fleet: &Fleet) -> sqlx::Result<()> {
    let counted = Counters::read(fleet).await;
    let (tasks, completed): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE status = 'completed') FROM task_records")
            .fetch_one(&fleet.db)
            .await?;
    let at_most = |count: u64, rows: i64| i64::try_from(count).is_ok_and(|count| count <= rows);
    if !at_most(counted.enqueued, tasks) || !at_most(counted.succeeded, completed) {
        let seen = format!("{counted:?}, rows: {tasks}, completed: {completed}");
        fleet.log.violation("counters never exceed rows", &seen);
    }
    Ok(())
}

async fn equal(fleet: &Fleet, before: &Counters, submitted: usize) {
    let mut last = Counters::read(fleet).await;
    let wanted = Counters {
        enqueued: before.enqueued + submitted as u64,
        succeeded: before.succeeded + submitted as u64,
    };
    let same = within(Duration::from_secs(5), async || {
        last = Counters::read(fleet).await;
        last == wanted
    })
    .await;
    if !same {
        fleet.log.violation(
            "in the steady state, counters equal rows",
            &format!("{last:?} instead of {wanted:?}"),
        );
    }
}

/// Checks that exactly the running workers are alive in the table, and that none has a run in flight.
async fn registered(fleet: &Fleet) -> sqlx::Result<()> {
    let sql = "SELECT id, active FROM workers WHERE status = 'alive' ORDER BY id";
    let mut seen: Vec<(String, i32)> = Vec::new();
    let correct = within(Duration::from_secs(20), async || {
        seen = sqlx::query_as(sql).fetch_all(&fleet.db).await.unwrap_or_default();
        let names = seen
            .iter()
            .filter(|(id, active)| *active == 0 && id.starts_with("worker-"));
        names.count() == fleet.workers().len() && seen.len() == fleet.workers().len()
    })
    .await;
    if !correct {
        fleet.log.violation(
            "exactly the running workers are alive, and all are idle",
            &format!("{seen:?}"),
        );
    }
    sqlx::query("SELECT 1").execute(&fleet.db).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# HELP tasks_completed_total x\ntasks_completed_total{type=\"a\",status=\"success\"} 3\n\
                    tasks_completed_total{type=\"b\",status=\"success\"} 4\ntasks_completed_total{type=\"b\",status=\"failed\"} 9\n\
                    tasks_completed_total_more{status=\"success\"} 100\n";
        assert_eq!(sum(text, "tasks_completed_total", r#"status="success""#), 7);
        assert_eq!(sum(text, "tasks_completed_total", ""), 16);
    }
}
