//! Every metric of the catalogue changes in a system under load, and no others are exported.

mod observed;
mod traffic;

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgPool;
use tasker_platform::telemetry::METRICS;
use tasker_testkit::{Running, System, eventually};

use crate::harness::{SOON, Small};
use observed::Observed;
use traffic::Traffic;

/// Time for the last metric to change: the leader samples queues every 10 seconds.
const ALL_MOVED: Duration = Duration::from_mins(2);

/// Metrics that this traffic does not change: lines are dropped if the output of a process is not read (see
/// `unread_logs.rs`), and workflows are repaired and their definitions deleted in the tests of the duties.
const MOVE_ELSEWHERE: [&str; 4] = [
    "tasker_log_lines_dropped_total",
    "tasker_workflow_late_edges_total",
    "tasker_workflow_repairs_total",
    "tasker_workflow_definitions_deleted_total",
];
/// Metrics that never change, and are there for readers of the names: a claim of the end of a workflow ends
/// with its statement.
const NEVER_MOVE: [&str; 2] = ["finalization_claim_release_", "finalization_claim_extend_"];

fn moves_here(name: &str) -> bool {
    !MOVE_ELSEWHERE.contains(&name) && !NEVER_MOVE.iter().any(|prefix| name.starts_with(prefix))
}

fn still(observed: &Observed) -> Vec<&'static str> {
    let names = METRICS.iter().map(|metric| metric.name);
    names
        .filter(|name| moves_here(name) && !observed.moved.contains(*name))
        .collect()
}

#[sqlx::test(migrations = false)]
async fn every_metric_of_the_catalogue_moves_and_none_is_shown_that_is_not_in_it(db: PgPool) {
    let traffic = Traffic::drive(db).await;
    let started = std::time::Instant::now();
    while !still(&traffic.observed()).is_empty() && started.elapsed() < ALL_MOVED {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let observed = traffic.observed();
    assert_eq!(still(&observed), Vec::<&str>::new(), "these never moved");

    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let unknown: Vec<&String> = observed
        .kinds
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "not in the catalogue: {unknown:?}");
    // a histogram without values is not exported
    let without_values =
        |name: &str| NEVER_MOVE.iter().any(|prefix| name.starts_with(prefix)) && name.ends_with("_seconds");
    for metric in METRICS.iter().filter(|metric| !without_values(metric.name)) {
        let name = metric.name;
        assert_eq!(
            observed.kinds.get(name).map(String::as_str),
            Some(metric.kind.as_str()),
            "{name}"
        );
        let labels = observed.labels.get(name).cloned().unwrap_or_default();
        let shown: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        let listed: BTreeSet<&str> = metric.labels.iter().copied().collect();
        assert_eq!(shown, listed, "the labels of {name}");
        for (label, values) in labels {
            for value in values {
                let is_id = uuid::Uuid::try_parse(&value).is_ok();
                assert!(!is_id, "{name}{{{label}={value:?}}} is an id");
            }
        }
    }
}

async fn shows(server: &Running, line: &str) -> bool {
    let answer = server.http.get(format!("{}/metrics", server.url)).send().await;
    let text = answer.expect("an answer").text().await.expect("text");
    text.lines().any(|shown| shown.starts_with(line))
}

#[sqlx::test(migrations = false)]
async fn a_server_that_lost_the_lease_exports_no_metrics_of_the_system(db: PgPool) {
    let system = System::new(&db).with("LEADER_TERM", "5s");
    let server = system.server(&[]).await;
    let _worker = system.worker(&[]).await;
    let of_the_leader = [
        "workers_total",
        "tasker_workers_watched",
        r#"tasker_queue_workers{queue="default"}"#,
        r#"leader_status{worker_id=""#,
        "tasker_leader_term",
        "tasker_partition_days_ahead",
    ];
    let shows_more_than_0 = async |name: &str| {
        let answer = server.http.get(format!("{}/metrics", server.url)).send().await;
        let text = answer.expect("an answer").text().await.expect("text");
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .map(ToOwned::to_owned);
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    for name in of_the_leader {
        eventually(name, SOON, async || shows_more_than_0(name).await).await;
    }
    // another owner has the lease for longer than this test takes
    sqlx::query(
        "UPDATE leader_lease SET holder = 'another', term = term + 1, expires_at = now() + interval '1 hour'",
    )
    .execute(&db)
    .await
    .expect("the lease is another's");
    for name in of_the_leader {
        eventually(name, SOON, async || !shows_more_than_0(name).await).await;
    }
    assert!(shows(&server, "tasker_leader_changes_total 1").await);
}

#[sqlx::test(migrations = false)]
async fn servers_and_workers_name_the_version_of_the_text(db: PgPool) {
    let small = Small::start(&db).await;
    for running in [&small.server, &small.worker] {
        let answer = running.http.get(format!("{}/metrics", running.url)).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(
            answer.headers()["content-type"],
            "text/plain; version=0.0.4; charset=utf-8"
        );
    }
}
