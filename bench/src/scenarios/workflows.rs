//! Measures workflows: latency of four steps in a row, hand-off, chains, fan-outs, and starts.

use std::time::Duration;

use anyhow::ensure;
use futures_util::stream::{self, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use crate::arguments::Scenario;
use crate::environment::Environment;
use crate::figures::Figure;
use crate::scenarios::POOL_SIZE;
use crate::stats::count;
use crate::system::System;

const SCENARIO: Scenario = Scenario::Workflows;
/// Starts per second of the latency measurement.
const LINEAR_RATE: u32 = 10;
const LINEAR_WORKFLOWS: u32 = 100;
/// Chains of ten steps in the backlog.
const CHAINS: usize = 2_000;
const CHAIN_STEPS: usize = 10;
/// Workflows of one step, then 98, then one.
const FANS: usize = 200;
const FAN_WIDTH: usize = 98;
/// Steps in the middle of the widest fan.
const WIDE_WIDTH: usize = 998;
const CONNECTIONS: usize = 64;

/// Measures workflows on one server and one worker.
pub(super) async fn workflows(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let mut figures = latencies(env).await?;
    figures.extend(backlog(env, "chains of ten", &chain(CHAIN_STEPS), CHAINS).await?);
    figures.extend(backlog(env, "fan-outs of 98", &fan(FAN_WIDTH), FANS).await?);
    Ok(figures)
}

/// Measures the time of four steps in a row at a constant rate, the hand-off between them, and one wide fan.
async fn latencies(env: &Environment) -> anyhow::Result<Vec<Figure>> {
    let mut system = System::start(env).await?;
    system.add_workers(1, POOL_SIZE).await?;
    let linear = chain(4);
    let mut turn = interval(Duration::from_secs(1) / LINEAR_RATE);
    for _ in 0..LINEAR_WORKFLOWS {
        turn.tick().await;
        start(env, &system, &linear).await?;
    }
    system.until_idle().await?;
    let db = &system.sandbox.pool;
    let [p50, p99]: [f64; 2] = quantiles(
        db,
        "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP
                (ORDER BY extract(epoch FROM finished_at - created_at) * 1000)::float8[]
           FROM finished_workflows",
    )
    .await?;
    // the end of a step by Postgres's clock, to the claim of the next one
    let [hand_off, hand_off_p99]: [f64; 2] = quantiles(
        db,
        "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP
                (ORDER BY extract(epoch FROM next.started_at - step.completed_at) * 1000)::float8[]
           FROM finished_tasks step
           JOIN finished_tasks next ON next.workflow_id = step.workflow_id
            AND next.step = 's' || (substring(step.step FROM 2)::integer + 1)
          WHERE step.workflow_id IS NOT NULL",
    )
    .await?;
    let id = start(env, &system, &fan(WIDE_WIDTH)).await?;
    system.until_idle().await?;
    let wide: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM finished_at - created_at)::float8 FROM finished_workflows WHERE id = $1::uuid",
    )
    .bind(id)
    .fetch_one(&system.sandbox.pool)
    .await?;
    system.stop().await?;
    Ok(vec![
        Figure::new(SCENARIO, "four steps, start to end, p50", p50, "ms"),
        Figure::new(SCENARIO, "four steps, start to end, p99", p99, "ms"),
        Figure::new(SCENARIO, "hand-off p50", hand_off, "ms"),
        Figure::new(SCENARIO, "hand-off p99", hand_off_p99, "ms"),
        Figure::new(SCENARIO, "1 to 998 to 1", wide, "s"),
    ])
}

async fn quantiles(db: &sqlx::PgPool, sql: &'static str) -> anyhow::Result<[f64; 2]> {
    let found: Vec<f64> = sqlx::query_scalar(sql).fetch_one(db).await?;
    let [low, high] = found[..] else {
        anyhow::bail!("two quantiles were asked for")
    };
    Ok([low, high])
}

/// Starts `workflows` workflows over HTTP while no worker runs, then drains their steps.
async fn backlog(
    env: &Environment,
    name: &str,
    body: &Value,
    workflows: usize,
) -> anyhow::Result<Vec<Figure>> {
    let mut system = System::start(env).await?;
    // the start checks that every task type is registered; the worker of the warm-up registered them
    let began = Instant::now();
    stream::iter((0..workflows).map(anyhow::Ok))
        .try_for_each_concurrent(CONNECTIONS, async |_| start(env, &system, body).await.map(drop))
        .await?;
    let started = count(workflows) / began.elapsed().as_secs_f64();
    system.add_workers(1, POOL_SIZE).await?;
    system.until_idle().await?;
    let (steps, seconds): (i64, f64) = sqlx::query_as(
        "SELECT count(*), extract(epoch FROM max(completed_at) - min(started_at))::float8
           FROM finished_tasks WHERE workflow_id IS NOT NULL AND status = 'completed'",
    )
    .fetch_one(&system.sandbox.pool)
    .await?;
    let ended: i64 = sqlx::query_scalar("SELECT count(*) FROM finished_workflows WHERE status = 'complete'")
        .fetch_one(&system.sandbox.pool)
        .await?;
    ensure!(
        usize::try_from(ended) == Ok(workflows),
        "{ended} of {workflows} workflows completed"
    );
    system.stop().await?;
    Ok(vec![
        Figure::new(SCENARIO, format!("{name}, starts"), started, "workflows/s"),
        Figure::new(SCENARIO, name, count(steps) / seconds, "steps/s"),
    ])
}

/// Starts one workflow and returns its id.
async fn start(env: &Environment, system: &System<'_>, body: &Value) -> anyhow::Result<String> {
    let url = format!("{}/v1/workflows", system.server.url);
    let answer = env.http.post(url).body(body.to_string());
    let answer = answer.header("content-type", "application/json").send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status == 201, "a start returned {status}: {text}");
    let answer: Value = serde_json::from_str(&text)?;
    Ok(answer["workflow_id"].as_str().unwrap_or_default().to_owned())
}

/// Returns a workflow of `steps` steps, each after the one before.
fn chain(steps: usize) -> Value {
    let step = |index: usize| {
        let needs: Vec<String> = (index > 0)
            .then(|| format!("s{}", index - 1))
            .into_iter()
            .collect();
        json!({"name": format!("s{index}"), "run": "noop", "needs": needs, "with": {}})
    };
    json!({"name": "chain", "steps": (0..steps).map(step).collect::<Vec<_>>()})
}

/// Returns a workflow of one step, `width` steps behind it, and one behind those.
fn fan(width: usize) -> Value {
    let middle: Vec<String> = (0..width).map(|index| format!("m{index}")).collect();
    let mut steps = vec![json!({"name": "top", "run": "noop", "with": {}})];
    steps.extend(
        middle
            .iter()
            .map(|name| json!({"name": name, "run": "noop", "needs": ["top"], "with": {}})),
    );
    steps.push(json!({"name": "bottom", "run": "noop", "needs": middle, "with": {}}));
    json!({"name": "fan", "steps": steps})
}
