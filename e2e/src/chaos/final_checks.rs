//! The invariants after all faults are healed and all tasks have finished.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_testkit::http_client;
use uuid::Uuid;

use super::fleet::{Fleet, POOL};
use super::http::{Response, ask};
use super::ledger::Ledger;
use super::verifier::{self, Row};

/// Time for processes and stores to become ready again.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Time for all tasks to finish after that.
const FINISH_TIMEOUT: Duration = Duration::from_mins(2);
/// Time until hints of finished tasks and closed connections must be gone.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);
/// Interval between checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Connections of a process in addition to its pool: a worker's liveness connection and its
/// spare, a server's leadership.
const BESIDE_POOL: usize = 3;
/// Connections of a process to Redis: commands, events, two overlapping ones for each of two pop loops, one
/// being opened.
const TO_REDIS: usize = 8;
/// Number of tasks whose HTTP responses are compared with their rows.
const VIEWS: usize = 300;

/// Waits until every process is ready and every task has finished.
pub(super) async fn settle(fleet: &Fleet) {
    let began = Instant::now();
    for member in &fleet.members {
        if !within(READY_TIMEOUT, async || member.is_ready().await).await {
            fleet
                .log
                .violation("every process is ready again", &member.name());
        }
    }
    fleet
        .log
        .note(&format!("all processes ready after {:?}", began.elapsed()));
    if !within(FINISH_TIMEOUT, async || {
        unfinished(&fleet.db).await.is_ok_and(|left| left.is_empty())
    })
    .await
    {
        for left in unfinished(&fleet.db).await.unwrap_or_default() {
            fleet.log.violation("every task finishes", &left);
        }
    }
    fleet
        .log
        .note(&format!("all tasks finished after {:?}", began.elapsed()));
}

/// Verifies rows, totals, history, HTTP responses, lists and connections.
pub(super) async fn verify(fleet: &Fleet, ledger: &Ledger) -> sqlx::Result<()> {
    let rows = rows(&fleet.db).await?;
    for (rule, seen) in verifier::verify(&ledger.entries(), &rows) {
        fleet.log.violation(rule, &seen);
    }
    for row in &rows {
        let reason = row
            .reason
            .as_deref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        fleet.log.count(&format!("tasks: {}{reason}", row.status));
    }
    // effects of the faults, none of which may be zero in a long run
    let sum = |number: fn(&Row) -> i32| rows.iter().map(|row| u64::from(number(row).unsigned_abs())).sum();
    fleet.log.add("runs", sum(|row| row.runs));
    fleet
        .log
        .add("runs that a handler completed or failed", sum(|row| row.attempts));
    fleet
        .log
        .add("runs lost with their worker", sum(|row| row.crash_count));
    totals(fleet).await?;
    history(fleet, ledger).await?;
    views(fleet, &rows).await;
    lists(fleet).await;
    sessions(fleet).await;
    Ok(())
}

async fn rows(db: &PgPool) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(
        "SELECT id, correlation_id, idempotency_key, status::text, reason, runs, attempts, max_attempts, crash_count
           FROM task_records",
    )
    .fetch_all(db)
    .await
}

async fn unfinished(db: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', t.id, t.status, t.queue, t.task_name, 'runs', t.runs, t.worker_id, w.status, t.updated_at)
           FROM tasks t LEFT JOIN workers w ON w.id = t.worker_id
          WHERE t.status <> 'dead_letter' LIMIT 100",
    )
    .fetch_all(db)
    .await
}

/// Checks that the totals, which each statement updates in its own transaction, match the rows after all
/// crashes.
async fn totals(fleet: &Fleet) -> sqlx::Result<()> {
    let uneven: Vec<String> = sqlx::query_scalar(
        "WITH noted AS (
             SELECT task_name,
                    COALESCE(sum(tasks) FILTER (WHERE event = 'submitted'), 0)
                    - COALESCE(sum(tasks) FILTER (WHERE event = 'purged'), 0) AS submitted,
                    COALESCE(sum(tasks) FILTER (WHERE event = 'completed'), 0) AS completed,
                    COALESCE(sum(tasks) FILTER (WHERE event = 'cancelled'), 0)
                    - COALESCE(sum(tasks) FILTER (WHERE event = 'cancelled_retried'), 0) AS cancelled,
                    COALESCE(sum(tasks) FILTER (WHERE event = 'dead_letter'), 0)
                    - COALESCE(sum(tasks) FILTER (WHERE event IN ('dead_letter_retried', 'purged')), 0) AS dead_letter
               FROM (SELECT * FROM task_totals UNION ALL SELECT * FROM task_total_deltas) AS t
              GROUP BY task_name
         ), counted AS (
             SELECT task_name, count(*) AS submitted,
                    count(*) FILTER (WHERE status = 'completed') AS completed,
                    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
                    count(*) FILTER (WHERE status = 'dead_letter') AS dead_letter
               FROM task_records
              GROUP BY task_name
         )
         SELECT concat_ws(' ', n, 'instead of', c)
           FROM noted n FULL JOIN counted c USING (task_name)
          WHERE (n.submitted, n.completed, n.cancelled, n.dead_letter)
                IS DISTINCT FROM (c.submitted, c.completed, c.cancelled, c.dead_letter)",
    )
    .fetch_all(&fleet.db)
    .await?;
    for seen in uneven {
        fleet.log.violation("the totals match the rows", &seen);
    }
    Ok(())
}

/// Checks that the history of a task has at most one final state, and an event for each lost run.
async fn history(fleet: &Fleet, ledger: &Ledger) -> sqlx::Result<()> {
    let twice: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', e.task_id, count(*), r.status)
           FROM task_events e JOIN task_records r ON r.id = e.task_id
          WHERE e.to_status = 'completed' OR (r.status = 'completed' AND e.to_status IN ('cancelled', 'dead_letter')
                AND NOT EXISTS (SELECT FROM task_events o WHERE o.task_id = e.task_id AND o.reason = 'retried'))
          GROUP BY e.task_id, r.status",
    )
    .fetch_all(&fleet.db)
    .await?;
    for seen in twice {
        fleet
            .log
            .violation("a completed task has no other final state in its history", &seen);
    }
    let uneven: Vec<(Uuid, i32, i64)> = sqlx::query_as(
        "SELECT r.id, r.crash_count, count(e.task_id)
           FROM task_records r LEFT JOIN task_events e ON e.task_id = r.id AND e.reason = 'worker_lost'
          GROUP BY r.id, r.crash_count HAVING r.crash_count <> count(e.task_id)",
    )
    .fetch_all(&fleet.db)
    .await?;
    let entries = ledger.entries();
    // an operator's retry resets the crash count, but not the history
    for (id, crashes, recorded) in uneven
        .into_iter()
        .filter(|(id, ..)| !entries.retried.contains(id))
    {
        fleet.log.violation(
            "the history has an event for each lost run",
            &format!("{id}: {crashes} crashes, {recorded} recorded"),
        );
    }
    Ok(())
}

/// Checks that the responses of both servers about a task match its row.
async fn views(fleet: &Fleet, rows: &[Row]) {
    let http = http_client().build().expect("a client without options");
    let step = rows.len().div_ceil(VIEWS).max(1);
    for (index, row) in rows.iter().step_by(step).enumerate() {
        let url = format!("{}/tasks/{}", fleet.server(index), row.id);
        let seen = match ask(&fleet.log, http.get(&url)).await {
            Response::Complete(200, task) if task["status"] == row.status && task["runs"] == row.runs => None,
            other => Some(format!("{row:?}: {other:?}")),
        };
        let ends = match ask(&fleet.log, http.get(format!("{url}/history"))).await {
            Response::Complete(200, history) => history["events"].as_array().map_or(0, |events| {
                events.iter().filter(|event| event["to"] == "completed").count()
            }),
            _ => usize::MAX,
        };
        if let Some(seen) = seen {
            fleet
                .log
                .violation("a response about a task matches its row", &seen);
        }
        if ends != usize::from(row.status == "completed") {
            fleet.log.violation(
                "the history of a completed task has one completion",
                &format!("{row:?}: {ends}"),
            );
        }
    }
}

async fn lists(fleet: &Fleet) {
    let queues = ["high_priority", "default", "low_priority"];
    let empty = async || queues.iter().all(|queue| fleet.system.queue().llen(queue) == 0);
    if !within(CLEANUP_TIMEOUT, empty).await {
        let lengths = queues.map(|queue| format!("{queue}: {}", fleet.system.queue().llen(queue)));
        fleet.log.violation("all lists are empty", &lengths.join(", "));
    }
}

/// Checks that no process has more connections than its limit, and that Postgres has no other sessions.
async fn sessions(fleet: &Fleet) {
    let sql = "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%')
                 FROM pg_stat_activity WHERE application_name LIKE 'tasker%'";
    let mut last = String::new();
    let correct = within(CLEANUP_TIMEOUT, async || {
        let connections: BTreeMap<String, (usize, usize)> = fleet
            .members
            .iter()
            .map(|member| {
                (
                    member.name(),
                    (member.to_postgres.connections(), member.to_redis.connections()),
                )
            })
            .collect();
        let Ok((open, in_transaction)) = sqlx::query_as::<_, (i64, i64)>(sql).fetch_one(&fleet.db).await
        else {
            return false;
        };
        let sum: usize = connections.values().map(|(postgres, _)| postgres).sum();
        last = format!(
            "{open} sessions, {in_transaction} idle in transaction, (to Postgres, to Redis) {connections:?}"
        );
        usize::try_from(open).is_ok_and(|open| open <= sum)
            && in_transaction == 0
            && connections
                .values()
                .all(|(postgres, redis)| *postgres <= POOL + BESIDE_POOL && *redis <= TO_REDIS)
    })
    .await;
    fleet.log.note(&last);
    if !correct {
        fleet.log.violation("no connection is leaked", &last);
    }
}

/// Waits up to `time` for `condition`; returns false on timeout.
pub(super) async fn within(time: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if condition().await {
            return true;
        }
        if began.elapsed() > time {
            return false;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
