//! The dashboard and the alerts of `deploy/`, checked as files and on a real Prometheus.

mod files;
mod prometheus;
mod promql;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::{System, eventually};

use crate::harness::{echo, long_running};
use files::{alerts, dashboard, panels, queries, read, variables};
use prometheus::{Prometheus, Target};

/// Time from the first scrape until every query has a result: the slowest gauges are updated every 10
/// seconds.
const ANSWERED: Duration = Duration::from_mins(2);
/// Metrics that Prometheus itself creates.
const ITS_OWN: [&str; 2] = ["up", "ALERTS"];

#[test]
fn every_alert_has_a_severity_and_a_paragraph_that_says_what_to_do() {
    let operations = read("docs/operations.md");
    let alerts = alerts();
    assert!(alerts.len() >= 9, "{alerts:?}");
    for alert in alerts {
        let heading = format!("### {}\n", alert.name);
        assert!(
            operations.contains(&heading),
            "docs/operations.md lacks {}",
            alert.name
        );
        let runbook = format!("docs/operations.md#{}", alert.name.to_lowercase());
        assert_eq!(alert.runbook, runbook);
        assert!(
            ["critical", "warning", "info"].contains(&alert.severity.as_str()),
            "{}",
            alert.severity
        );
    }
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_ask_for_is_documented() {
    let documented = read("docs/metrics.md");
    let base = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        let part = parts.iter().find_map(|part| name.strip_suffix(part));
        part.unwrap_or(name).to_owned()
    };
    let asked: Vec<String> = queries(&dashboard())
        .into_iter()
        .map(|query| query.expr)
        .collect();
    let alerts = alerts().into_iter().map(|alert| alert.expr);
    let unknown: BTreeSet<String> = asked
        .into_iter()
        .chain(alerts)
        .flat_map(|expr| promql::metrics(&expr))
        .filter(|name| !ITS_OWN.contains(&name.as_str()))
        .filter(|name| !documented.contains(&format!("| `{}` |", base(name))))
        .collect();
    assert!(unknown.is_empty(), "docs/metrics.md does not list {unknown:?}");
}

#[test]
fn the_panels_of_the_dashboard_say_what_they_show_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{title}: its id is another's"
        );
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        for row in place("y")..place("y") + place("h") {
            for column in place("x")..place("x") + place("w") {
                assert!(
                    column < 24 && taken.insert((row, column)),
                    "{title} covers another"
                );
            }
        }
        if panel["type"] != "row" {
            assert!(
                panel["description"].as_str().is_some_and(|text| !text.is_empty()),
                "{title}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

#[sqlx::test(migrations = false)]
#[ignore = "needs Prometheus: deploy/check.sh installs it and runs this"]
async fn every_query_of_the_dashboard_and_of_the_alerts_answers_on_a_real_prometheus(db: PgPool) {
    let system = System::new(&db).with("EXTRA_QUEUES", "nobodys");
    let mut server = system.server(&[]).await;
    let mut high = system.worker(&[("TASK_QUEUES", "high_priority")]).await;
    let default = system.worker(&[("TASK_QUEUES", "default,low_priority")]).await;
    let targets = [
        Target::new("tasker-server", &server),
        Target::new("task-worker-high", &high),
        Target::new("task-worker-default", &default),
    ];
    let prometheus = Prometheus::start(&system, &targets).await;

    let mut left = queries(&dashboard());
    left.extend(variables(&dashboard()));
    let asking = eventually("every query answers", ANSWERED * 2, async || {
        some_of_everything(&server).await;
        left = prometheus.unanswered(std::mem::take(&mut left)).await;
        left.is_empty()
    });
    let _ = tokio::time::timeout(ANSWERED, asking).await;
    assert!(left.is_empty(), "these queries bring nothing: {left:#?}");

    let names = prometheus.metric_names().await;
    for alert in alerts() {
        let missing: Vec<String> = promql::metrics(&alert.expr)
            .into_iter()
            .filter(|name| name != "ALERTS" && !names.contains(name))
            .collect();
        assert!(missing.is_empty(), "{}: there is no {missing:?}", alert.name);
    }
    assert_eq!(prometheus.alert_states().await.len(), alerts().len());
    prometheus.sees("DeadLetterQueueGrowth", "firing").await;
    for quiet in [
        "ServerDown",
        "WorkerDown",
        "NoLeader",
        "PostgresUnavailable",
        "RedisDegraded",
        "PartitionsRunOut",
    ] {
        prometheus.sees(quiet, "inactive").await;
    }

    let mut task = echo(1);
    task["queue"] = json!("nobodys");
    server.submit(&task).await;
    prometheus.sees("QueueWithoutWorkers", "pending").await;
    high.process.kill().await;
    prometheus.sees("WorkerDown", "pending").await;
    server.process.kill().await;
    prometheus.sees("ServerDown", "pending").await;
    prometheus.sees("NoLeader", "pending").await;
}

/// Submits tasks of each class that succeed, fail, are retried, die and are scheduled, and requests that are
/// rejected.
async fn some_of_everything(server: &tasker_testkit::Running) {
    let failing = |max_retries: u32| {
        let parameters = json!({"should_fail": true});
        json!({"task_name": "example_failing", "parameters": parameters, "max_retries": max_retries})
    };
    let classes = [7, 0, -7].map(|priority| {
        let mut task = echo(1);
        task["priority"] = json!(priority);
        task
    });
    let mut later = echo(2);
    later["delay"] = json!("1s");
    let others = [failing(0), failing(1), later, long_running(0.2)];
    for task in others.iter().chain(&classes) {
        let (status, answer) = server.post("/tasks/submit", task).await;
        // a short stall of the machine is not an error here
        assert!(status == 202 || status == 503, "{answer}");
    }
    let (status, _) = server.post("/tasks/submit", &Value::Null).await;
    assert!(status.is_client_error());
}
