//! CPU time of idle processes.

use std::time::Duration;

use sqlx::PgPool;
use tasker_testkit::Running;

use crate::harness::{SOON, Small, echo};

/// Duration of the measurement.
const MEASURED_TIME: Duration = Duration::from_secs(3);
/// Maximum CPU time in that, in clock ticks of 10 ms, to detect busy loops.
const TICKS_MAX: u64 = 10;
/// Number of measurements: one may contain a duty that runs once a minute.
const SAMPLES: usize = 3;

/// Returns the CPU time of a process in clock ticks.
fn ticks(running: &Running) -> u64 {
    let path = format!("/proc/{}/stat", running.process.pid());
    let stat = std::fs::read_to_string(path).expect("a living process");
    // the name in parentheses may contain spaces and parentheses; utime and stime are the 12th and 13th field
    // after it
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
    for _ in 0..SAMPLES {
        let before = [ticks(&small.server), ticks(&small.worker)];
        tokio::time::sleep(MEASURED_TIME).await;
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
    panic!("ticks of the server and of the worker in {MEASURED_TIME:?}: {used:?}");
}
