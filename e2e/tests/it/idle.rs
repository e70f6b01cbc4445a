//! Idle costs nothing.

use std::time::Duration;

use sqlx::PgPool;
use tasker_testkit::Running;

use crate::harness::{SOON, Small, echo};

/// How long a process is watched.
const WATCHED: Duration = Duration::from_secs(3);
/// Most processor time in that, in clock ticks of 10 ms: a guard against loops that spin.
const TICKS_MAX: u64 = 10;
/// A look may fall on what happens once a minute.
const LOOKS: usize = 3;

/// Processor time that a process has used, in clock ticks.
fn ticks(running: &Running) -> u64 {
    let path = format!("/proc/{}/stat", running.process.pid());
    let stat = std::fs::read_to_string(path).expect("a living process");
    // the name in parentheses may hold anything; utime and stime are the 12th and 13th field after it
    let (_, fields) = stat.rsplit_once(')').expect("the name in parentheses");
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[sqlx::test(migrations = false)]
async fn invariant_11_an_idle_server_and_an_idle_worker_use_no_processor_time(db: PgPool) {
    let small = Small::start(&db).await;
    let id = small.server.submit(&echo(1)).await;
    small.server.wait_for(&id, "completed", SOON).await;
    let mut used = Vec::new();
    for _ in 0..LOOKS {
        let before = [ticks(&small.server), ticks(&small.worker)];
        tokio::time::sleep(WATCHED).await;
        let after = [ticks(&small.server), ticks(&small.worker)];
        used.push([after[0] - before[0], after[1] - before[1]]);
        if used
            .iter()
            .flatten()
            .rev()
            .take(2)
            .all(|ticks| *ticks < TICKS_MAX)
        {
            return;
        }
    }
    panic!("ticks of the server and of the worker in {WATCHED:?}: {used:?}");
}
