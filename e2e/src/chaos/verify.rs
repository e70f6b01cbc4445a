//! What must hold when everything is healed and the work is done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use super::fleet::{Fleet, POOL};
use super::http::{Heard, ask};
use super::judge::{Row, judge};
use super::ledger::Ledger;

/// How long processes and stores may take to be there again.
const HEALED: Duration = Duration::from_mins(1);
/// How long all work may take after that.
const DONE: Duration = Duration::from_mins(2);
/// How long hints of what is done may stay, and closed connections.
const CLEARED: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Connections of a process beside its pool: a worker's liveness and its spare, a server's leadership.
const BESIDE_POOL: usize = 3;
/// Connections of a process to Redis: commands, events, two loops of pops that each overlap, one being made.
const TO_REDIS: usize = 8;
/// Tasks whose views over HTTP are held against their rows.
const VIEWS: usize = 300;

/// Waits until every process is ready and no task is left to run.
pub(super) async fn settle(fleet: &Fleet) {
    let began = Instant::now();
    for member in &fleet.members {
        if !within(HEALED, async || member.is_ready().await).await {
            fleet
                .journal
                .wrong("every process is ready again", &member.name());
        }
    }
    fleet
        .journal
        .note(&format!("all are ready after {:?}", began.elapsed()));
    if !within(DONE, async || {
        unfinished(&fleet.db).await.is_ok_and(|left| left.is_empty())
    })
    .await
    {
        for left in unfinished(&fleet.db).await.unwrap_or_default() {
            fleet.journal.wrong("every task ends", &left);
        }
    }
    fleet
        .journal
        .note(&format!("all is done after {:?}", began.elapsed()));
}

/// Holds rows, history, views, lists and connections against what they must be.
pub(super) async fn verify(fleet: &Fleet, ledger: &Ledger) -> sqlx::Result<()> {
    let rows = rows(&fleet.db).await?;
    for (rule, seen) in judge(&ledger.entries(), &rows) {
        fleet.journal.wrong(rule, &seen);
    }
    for row in &rows {
        let reason = row
            .reason
            .as_deref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        fleet.journal.count(&format!("tasks: {}{reason}", row.status));
    }
    // what the faults cost: none of it may be zero in a long run
    let sum = |number: fn(&Row) -> i32| rows.iter().map(|row| u64::from(number(row).unsigned_abs())).sum();
    fleet.journal.add("runs", sum(|row| row.runs));
    fleet
        .journal
        .add("runs that a handler ended", sum(|row| row.attempts));
    fleet
        .journal
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

/// What each statement noted of itself adds up to the rows that there are, though processes were killed and Postgres crashed.
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
        fleet.journal.wrong("the totals are what the rows say", &seen);
    }
    Ok(())
}

/// The history tells of one end at most, and of each lost run.
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
            .journal
            .wrong("a task that is completed has no other end in its history", &seen);
    }
    let uneven: Vec<(Uuid, i32, i64)> = sqlx::query_as(
        "SELECT r.id, r.crash_count, count(e.task_id)
           FROM task_records r LEFT JOIN task_events e ON e.task_id = r.id AND e.reason = 'worker_lost'
          GROUP BY r.id, r.crash_count HAVING r.crash_count <> count(e.task_id)",
    )
    .fetch_all(&fleet.db)
    .await?;
    let entries = ledger.entries();
    // an operator's retry forgets crashes, its history does not
    for (id, crashes, told) in uneven
        .into_iter()
        .filter(|(id, ..)| !entries.retried.contains(id))
    {
        fleet.journal.wrong(
            "the history tells of each lost run",
            &format!("{id}: {crashes} crashes, {told} told"),
        );
    }
    Ok(())
}

/// What either server says of a task is what its row says.
async fn views(fleet: &Fleet, rows: &[Row]) {
    let http = reqwest::Client::new();
    let step = rows.len().div_ceil(VIEWS).max(1);
    for (index, row) in rows.iter().step_by(step).enumerate() {
        let url = format!("{}/tasks/{}", fleet.server(index), row.id);
        let seen = match ask(&fleet.journal, http.get(&url)).await {
            Heard::Answer(200, task) if task["status"] == row.status && task["runs"] == row.runs => None,
            other => Some(format!("{row:?}: {other:?}")),
        };
        let ends = match ask(&fleet.journal, http.get(format!("{url}/history"))).await {
            Heard::Answer(200, history) => history["events"].as_array().map_or(0, |events| {
                events.iter().filter(|event| event["to"] == "completed").count()
            }),
            _ => usize::MAX,
        };
        if let Some(seen) = seen {
            fleet.journal.wrong("a task is seen as it is", &seen);
        }
        if ends != usize::from(row.status == "completed") {
            fleet.journal.wrong(
                "the history has one completion of what is completed",
                &format!("{row:?}: {ends}"),
            );
        }
    }
}

async fn lists(fleet: &Fleet) {
    let queues = ["high_priority", "default", "low_priority"];
    let empty = async || queues.iter().all(|queue| fleet.system.queue().llen(queue) == 0);
    if !within(CLEARED, empty).await {
        let lengths = queues.map(|queue| format!("{queue}: {}", fleet.system.queue().llen(queue)));
        fleet.journal.wrong("all lists are empty", &lengths.join(", "));
    }
}

/// Nobody holds more connections than he may, and Postgres has no session that nobody holds.
async fn sessions(fleet: &Fleet) {
    let sql = "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%')
                 FROM pg_stat_activity WHERE application_name LIKE 'tasker%'";
    let mut last = String::new();
    let sound = within(CLEARED, async || {
        let held: BTreeMap<String, (usize, usize)> = fleet
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
        let sum: usize = held.values().map(|(postgres, _)| postgres).sum();
        last = format!(
            "{open} sessions, {in_transaction} idle in transaction, (to Postgres, to Redis) {held:?}"
        );
        usize::try_from(open).is_ok_and(|open| open <= sum)
            && in_transaction == 0
            && held
                .values()
                .all(|(postgres, redis)| *postgres <= POOL + BESIDE_POOL && *redis <= TO_REDIS)
    })
    .await;
    fleet.journal.note(&last);
    if !sound {
        fleet.journal.wrong("no connection is leaked", &last);
    }
}

/// Whether `condition` holds before the time is over.
pub(super) async fn within(time: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if condition().await {
            return true;
        }
        if began.elapsed() > time {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}
