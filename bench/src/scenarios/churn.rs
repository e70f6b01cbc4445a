//! Runs millions of tasks through a system, to detect memory, tables or dead rows that grow and rates that
//! fall.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::arguments::Scenario;
use crate::driver;
use crate::environment::Environment;
use crate::figures::{Figure, RATE};
use crate::progress::progress;
use crate::rows::{self, Done};
use crate::scenarios::{MEBIBYTE, POOL_SIZE};
use crate::stats::{count, slope};
use crate::system::{StallDetector, System};

const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// Number of tasks submitted at a time, while fewer than this are unfinished, so that the backlog stays
/// bounded.
const STEP: u64 = 50_000;
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const HOUR: f64 = 3_600.0;
/// Samples before this are excluded from the change per hour: dead rows accumulate until the first vacuum,
/// and memory grows until every buffer has been used once.
const STEADY_AFTER_HOURS: f64 = 60.0 / HOUR;

/// Measured state of the system at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    hours: f64,
    done: f64,
    dead_tuples: f64,
    table_bytes: f64,
    server_bytes: f64,
    worker_bytes: f64,
}

pub(super) async fn churn(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let mut system = System::start(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let since = rows::now(&system.sandbox.pool).await?;
    let submitted = std::cell::Cell::new(0);
    let mut samples = Vec::new();
    tokio::select! {
        fed = feed(env, &system, &submitted) => fed?,
        error = take_samples(&system, &submitted, &mut samples) => return Err(error),
    }
    let until = rows::now(&system.sandbox.pool).await?;
    system.until_idle().await?;
    let done = Done::between(&system.sandbox.pool, (since, until), submitted.get()).await?;
    let rate = done.end_to_end_rate()?;
    system.stop().await?;
    Ok(figures(rate, &samples))
}

/// Submits all tasks, as fast as the worker finishes them.
async fn feed(
    env: &Environment,
    system: &System<'_>,
    submitted: &std::cell::Cell<u64>,
) -> anyhow::Result<()> {
    let mut stalls = StallDetector::new(Instant::now());
    while submitted.get() < env.arguments.churn_tasks {
        let alive = rows::alive(&system.sandbox.pool).await?;
        stalls.ensure_progress(alive, Instant::now())?;
        if alive >= STEP {
            sleep(POLL_INTERVAL).await;
            continue;
        }
        let left = env.arguments.churn_tasks - submitted.get();
        let measured = driver::batch(env, &system.server.url, left.min(STEP)).await?;
        submitted.set(submitted.get() + measured.tasks);
    }
    Ok(())
}

/// Takes samples until it is dropped; returns only on an error.
async fn take_samples(
    system: &System<'_>,
    submitted: &std::cell::Cell<u64>,
    samples: &mut Vec<Sample>,
) -> anyhow::Error {
    let start = Instant::now();
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match sample(system, submitted.get(), start).await {
            Ok(sample) => {
                progress(&format!(
                    "  {:.0} s: {:.0} done, {:.0} dead rows, table {:.0} MiB, server {:.0} MiB, worker {:.0} MiB",
                    sample.hours * HOUR,
                    sample.done,
                    sample.dead_tuples,
                    sample.table_bytes / MEBIBYTE,
                    sample.server_bytes / MEBIBYTE,
                    sample.worker_bytes / MEBIBYTE
                ));
                samples.push(sample);
            }
            Err(error) => return error,
        }
    }
}

async fn sample(system: &System<'_>, submitted: u64, start: Instant) -> anyhow::Result<Sample> {
    let alive = rows::alive(&system.sandbox.pool).await?;
    let (dead_tuples, table_bytes): (i64, i64) = sqlx::query_as(
        "SELECT n_dead_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables WHERE relname = 'tasks'",
    )
    .fetch_one(&system.sandbox.pool)
    .await?;
    let (server, worker) = system.memory()?;
    Ok(Sample {
        hours: start.elapsed().as_secs_f64() / HOUR,
        // during a step `alive` already contains tasks that `submitted` does not
        done: count(submitted.saturating_sub(alive)),
        dead_tuples: count(dead_tuples),
        table_bytes: count(table_bytes),
        server_bytes: count(server.resident),
        worker_bytes: worker.map_or(0.0, |worker| count(worker.resident)),
    })
}

type Reading = fn(&Sample) -> f64;

/// Returns the rate, and for each sampled quantity its last value and its change per hour.
fn figures(rate: f64, samples: &[Sample]) -> Vec<Figure> {
    let scenario = Scenario::Churn;
    let steady = samples.partition_point(|sample| sample.hours < STEADY_AFTER_HOURS);
    let samples = &samples[steady..];
    let rates: Vec<(f64, f64)> = samples
        .windows(2)
        .map(|pair| {
            let hours = pair[1].hours - pair[0].hours;
            (pair[1].hours, (pair[1].done - pair[0].done) / (hours * HOUR))
        })
        .collect();
    let mut figures = vec![Figure::new(scenario, RATE, rate, "tasks/s")];
    figures.extend(
        slope(&rates).map(|slope| Figure::new(scenario, "rate, change in an hour", slope, "tasks/s")),
    );
    let watched: [(_, _, Reading); 4] = [
        ("dead rows of tasks", "rows", |sample| sample.dead_tuples),
        ("size of tasks", "MiB", |sample| sample.table_bytes / MEBIBYTE),
        ("server, memory", "MiB", |sample| sample.server_bytes / MEBIBYTE),
        ("worker, memory", "MiB", |sample| sample.worker_bytes / MEBIBYTE),
    ];
    for (name, unit, of) in watched {
        let points: Vec<_> = samples.iter().map(|sample| (sample.hours, of(sample))).collect();
        figures.extend(
            samples
                .last()
                .map(|last| Figure::new(scenario, name, of(last), unit)),
        );
        let change = slope(&points);
        figures.extend(
            change.map(|slope| Figure::new(scenario, format!("{name}, change in an hour"), slope, unit)),
        );
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::value;

    fn sample(hours: f64, done: f64, table_bytes: f64) -> Sample {
        Sample {
            hours,
            done,
            dead_tuples: 7.0,
            table_bytes,
            server_bytes: MEBIBYTE,
            worker_bytes: MEBIBYTE,
        }
    }

    #[test]
    fn what_grows_shows_by_how_much_in_an_hour() {
        let samples = [
            sample(0.0, 0.0, 0.0),
            sample(1.0, 0.0, MEBIBYTE),
            sample(1.5, 1_800.0, 2.0 * MEBIBYTE),
            sample(2.0, 5_400.0, 3.0 * MEBIBYTE),
        ];
        let figures = figures(1.5, &samples);
        let near = |name: &str, wanted: f64| {
            let found = value(&figures, Scenario::Churn, name);
            assert!(
                found.is_some_and(|found| (found - wanted).abs() < 1e-9),
                "{name}: {found:?}"
            );
        };
        near("size of tasks", 3.0);
        near("size of tasks, change in an hour", 2.0);
        near("dead rows of tasks, change in an hour", 0.0);
        // one a second, then two
        near("rate, change in an hour", 2.0);
    }

    #[test]
    fn a_short_run_has_no_slopes() {
        assert_eq!(figures(1.5, &[]).len(), 1);
        assert_eq!(figures(1.5, &[sample(1.0, 0.0, 1.0)]).len(), 5);
    }
}
