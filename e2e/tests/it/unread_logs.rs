//! Standard output is a full pipe that is not read.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use sqlx::PgPool;
use tasker_testkit::{Process, Running, System, free_port, http_client};

use crate::harness::SOON;

/// Maximum time of a request or of the end of a process.
const PROMPT: Duration = Duration::from_secs(10);

/// Number of lines, more than the pipe and the log buffer hold.
const MANY: usize = 10_000;
const AT_ONCE: usize = 50;

/// Starts a program whose output pipe is never read.
fn unread(system: &System, program: &str, address_variable: &str) -> Running {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = system.command(program);
    command.env(address_variable, &address);
    Running {
        process: Process::start_unread(program, command, system.folder()),
        url: format!("http://{address}"),
        http: http_client()
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

/// Sends `count` requests that are logged, and asserts that each succeeds.
async fn pauses(server: &Running, count: usize) {
    for _ in 0..count.div_ceil(AT_ONCE) {
        let body = json!({});
        let pauses = (0..AT_ONCE).map(|_| server.post("/queues/low_priority/pause", &body));
        for (status, answer) in join_all(pauses).await {
            assert_eq!(status, 200, "{answer}");
        }
    }
}

#[sqlx::test(migrations = false)]
async fn a_full_pipe_as_output_costs_log_lines_and_nothing_else(db: PgPool) {
    let system = System::new(&db);
    let mut server = unread(&system, "tasker-server", "LISTEN_ADDRS");
    assert!(server.ready().await);
    let mut worker = unread(&system, "stuck-worker", "WORKER_LISTEN_ADDR");
    assert!(worker.ready().await);
    pauses(&server, MANY).await;
    assert!(dropped(&server).await > 0);
    let talks = json!({"task_name": "talks", "parameters": {"lines": MANY}});
    let id = server.submit(&talks).await;
    server.wait_for(&id, "completed", SOON).await;
    assert!(dropped(&worker).await > 0);
    let id = server.submit(&talks).await;
    server.wait_for(&id, "completed", SOON).await;
    for running in [&mut worker, &mut server] {
        let ended = tokio::time::timeout(PROMPT, running.process.terminate()).await;
        assert_eq!(ended.expect("the end in time").code(), Some(0));
    }
}
