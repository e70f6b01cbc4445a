//! A full pipe that nothing reads as standard output.

use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use tasker_testkit::{Process, Running, System, eventually, free_port};

use crate::harness::{SOON, echo};

/// How long a request, or the end of a process, may take.
const PROMPT: Duration = Duration::from_secs(10);

/// Starts a program whose output goes into pipes that nothing reads, and which logs all that it can.
fn unread(system: &System, program: &str, address_variable: &str) -> Running {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = system.command(program);
    command.env(address_variable, &address).env("RUST_LOG", "trace");
    Running {
        process: Process::start_unread(program, command, system.folder()),
        url: format!("http://{address}"),
        http: reqwest::Client::builder()
            .timeout(PROMPT)
            .build()
            .expect("a client without options"),
    }
}

async fn dropped(running: &Running) -> u64 {
    let answer = running.http.get(format!("{}/metrics", running.url)).send().await;
    let text = answer.expect("an answer in time").text().await.expect("text");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("tasker_log_lines_dropped_total "));
    value.expect("the metric").parse().expect("a number")
}

#[sqlx::test(migrations = false)]
async fn a_full_pipe_as_output_costs_log_lines_and_nothing_else(db: PgPool) {
    let system = System::new(&db);
    let mut server = unread(&system, "tasker-server", "LISTEN_ADDRS");
    assert!(server.ready().await);
    let mut worker = unread(&system, "tasker-worker", "WORKER_LISTEN_ADDR");
    assert!(worker.ready().await);
    for running in [&server, &worker] {
        eventually("lines are dropped", SOON * 2, async || {
            let tasks: Vec<_> = (0..100).map(echo).collect();
            let batch = json!({"tasks": tasks});
            assert_eq!(server.post("/tasks/submit/batch", &batch).await.0, 202);
            dropped(running).await > 0
        })
        .await;
    }
    let id = server.submit(&echo(1)).await;
    server.wait_for(&id, "completed", SOON).await;
    for running in [&mut worker, &mut server] {
        let ended = tokio::time::timeout(PROMPT, running.process.terminate()).await;
        assert_eq!(ended.expect("the end in time").code(), Some(0));
    }
}
