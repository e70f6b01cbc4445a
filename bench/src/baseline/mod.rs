//! The baseline: the SQL statements and Redis commands of submit, claim and completion without Tasker, which
//! shows the limit of this machine's Postgres and Redis with this schema.
//!
//! There are no validation, idempotency keys, handlers, fences or heartbeats: two or four loops, each with
//! its own connections, send batches of 256 with one statement and one command each.

mod statements;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::arguments::Scenario;
use crate::environment::{Environment, Sandbox};
use crate::figures::{BASELINE_SUBMIT, BASELINE_WORK, Figure};
use crate::rows;
use crate::stats::count;
use crate::system::migrate;

/// Numbers of concurrent loops to measure; the best one depends on the machine.
const LOOPS: [usize; 2] = [2, 4];
const BATCH_TASKS: u64 = 256;

/// Measures the statements over a backlog with each number of loops; the best rate is the baseline.
pub(crate) async fn baseline(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let scenario = Scenario::Baseline;
    let mut figures = Vec::new();
    let (mut best_submit, mut best_work) = (0.0_f64, 0.0_f64);
    for loops in LOOPS {
        let sandbox = env.sandbox().await?;
        migrate(env, &sandbox).await?;
        sqlx::query("CHECKPOINT").execute(&env.admin).await?;
        let rate = |elapsed: Duration| count(env.arguments.tasks) / elapsed.as_secs_f64();
        let submitting = rate(submit_all(env, &sandbox, loops).await?);
        let working = rate(work_all(env, &sandbox, loops).await?);
        env.discard(sandbox).await?;
        figures.push(Figure::new(
            scenario,
            format!("{BASELINE_SUBMIT}, {loops} loops"),
            submitting,
            "tasks/s",
        ));
        figures.push(Figure::new(
            scenario,
            format!("{BASELINE_WORK}, {loops} loops"),
            working,
            "tasks/s",
        ));
        best_submit = best_submit.max(submitting);
        best_work = best_work.max(working);
    }
    figures.push(Figure::new(scenario, BASELINE_SUBMIT, best_submit, "tasks/s"));
    figures.push(Figure::new(scenario, BASELINE_WORK, best_work, "tasks/s"));
    Ok(figures)
}

/// Inserts and pushes the backlog; returns the elapsed time.
async fn submit_all(env: &Environment, sandbox: &Sandbox, loops: usize) -> anyhow::Result<Duration> {
    let left = AtomicU64::new(env.arguments.tasks);
    let submit = async || {
        let (mut db, mut redis) = (sandbox.pool.acquire().await?, env.redis().await?);
        let parameters = statements::parameters(env.arguments.parameter_bytes);
        loop {
            let batch = take(&left);
            if batch == 0 {
                return anyhow::Ok(());
            }
            let ids = statements::insert(&mut db, batch, &parameters).await?;
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let mut push = redis::cmd("RPUSH");
            let _: u64 = push.arg(sandbox.list()).arg(ids).query_async(&mut redis).await?;
        }
    };
    let start = Instant::now();
    try_join_all((0..loops).map(|_| submit())).await?;
    Ok(start.elapsed())
}

/// Pops, claims and completes the backlog; returns the elapsed time.
async fn work_all(env: &Environment, sandbox: &Sandbox, loops: usize) -> anyhow::Result<Duration> {
    let work = async |worker: usize| {
        let (mut db, mut redis) = (sandbox.pool.acquire().await?, env.redis().await?);
        let worker = format!("baseline-{worker}");
        let mut done = 0;
        loop {
            let mut pop = redis::cmd("LMPOP");
            pop.arg(1)
                .arg(sandbox.list())
                .arg("LEFT")
                .arg("COUNT")
                .arg(BATCH_TASKS);
            let popped: Option<(String, Vec<String>)> = pop.query_async(&mut redis).await?;
            let Some((_, ids)) = popped else {
                return anyhow::Ok(done);
            };
            let ids: Vec<tasker_core::task::TaskId> =
                ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
            let claimed = statements::claim(&mut db, &worker, &ids).await?;
            done += statements::complete(&mut db, &worker, &claimed).await?;
        }
    };
    let start = Instant::now();
    let done = try_join_all((0..loops).map(work)).await?;
    let elapsed = start.elapsed();
    let (done, alive) = (done.iter().sum::<u64>(), rows::alive(&sandbox.pool).await?);
    let tasks = env.arguments.tasks;
    ensure!(
        done == tasks && alive == 0,
        "{done} of {tasks} done, {alive} left"
    );
    Ok(elapsed)
}

/// Takes the next batch from `left` and returns its size, 0 at the end.
fn take(left: &AtomicU64) -> u64 {
    let taken = |left: u64| left.saturating_sub(BATCH_TASKS);
    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(taken(left)));
    before.unwrap_or_default().min(BATCH_TASKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_add_up_to_the_backlog() {
        let left = AtomicU64::new(600);
        assert_eq!(
            [take(&left), take(&left), take(&left), take(&left)],
            [256, 256, 88, 0]
        );
    }
}
