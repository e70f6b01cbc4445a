//! Results read from the task rows: all timestamps come from Postgres's clock, so no polling disturbs the
//! measurement.

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::stats::count;

/// A span of time: the start included, the end excluded.
pub(crate) type Span = (DateTime<Utc>, DateTime<Utc>);

macro_rules! done_sql {
    ($table:literal) => {
        concat!(
            "SELECT count(*) AS tasks,
                    extract(epoch FROM max(completed_at) - min(created_at))::float8 AS end_to_end,
                    extract(epoch FROM max(completed_at) - min(started_at))::float8 AS working
               FROM ",
            $table,
            " WHERE status = 'completed' AND created_at >= $1 AND created_at < $2"
        )
    };
}

/// The number of completed tasks and their time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, sqlx::FromRow)]
pub(crate) struct Done {
    pub(crate) tasks: i64,
    /// From the first `created_at` to the last `completed_at`.
    pub(crate) end_to_end: Option<f64>,
    /// From the first `started_at` to the last `completed_at`.
    pub(crate) working: Option<f64>,
}

impl Done {
    /// Reads the tasks created in `created`; fails unless exactly `expected` have completed.
    pub(crate) async fn between(db: &PgPool, created: Span, expected: u64) -> anyhow::Result<Self> {
        Self::read(db, done_sql!("finished_tasks"), created, expected).await
    }

    /// Reads the tasks of the comparison stack; fails unless exactly `expected` have completed.
    pub(crate) async fn of_comparison(db: &PgPool, created: Span, expected: u64) -> anyhow::Result<Self> {
        Self::read(db, done_sql!("tasks"), created, expected).await
    }

    async fn read(
        db: &PgPool,
        sql: &'static str,
        (since, until): Span,
        expected: u64,
    ) -> anyhow::Result<Self> {
        let done: Self = sqlx::query_as(sql).bind(since).bind(until).fetch_one(db).await?;
        done.ensure(expected)?;
        Ok(done)
    }

    fn ensure(self, expected: u64) -> anyhow::Result<()> {
        ensure!(
            u64::try_from(self.tasks) == Ok(expected),
            "{expected} tasks were accepted, {} completed",
            self.tasks
        );
        Ok(())
    }

    /// Returns tasks per second from the first start to the last completion.
    pub(crate) fn drain_rate(self) -> anyhow::Result<f64> {
        self.rate(self.working)
    }

    /// Returns tasks per second from the first submit to the last completion.
    pub(crate) fn end_to_end_rate(self) -> anyhow::Result<f64> {
        self.rate(self.end_to_end)
    }

    fn rate(self, seconds: Option<f64>) -> anyhow::Result<f64> {
        let seconds = seconds.filter(|seconds| *seconds > 0.0);
        Ok(count(self.tasks) / seconds.context("the elapsed time is zero")?)
    }
}

/// Returns the time of Postgres's clock.
pub(crate) async fn now(db: &PgPool) -> anyhow::Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(db)
        .await?)
}

/// Returns the number of unfinished tasks.
pub(crate) async fn alive(db: &PgPool) -> anyhow::Result<u64> {
    let alive: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks")
        .fetch_one(db)
        .await?;
    Ok(alive.unsigned_abs())
}

/// Returns the number of tasks created since `since`, finished or not.
pub(crate) async fn all(db: &PgPool, since: DateTime<Utc>) -> anyhow::Result<u64> {
    let sql = "SELECT count(*) FROM task_records WHERE created_at >= $1";
    let rows: i64 = sqlx::query_scalar(sql).bind(since).fetch_one(db).await?;
    Ok(rows.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_tasks_by_seconds_and_nothing_may_be_lost() {
        let done = Done {
            tasks: 100,
            end_to_end: Some(4.0),
            working: Some(2.0),
        };
        assert!(done.drain_rate().is_ok_and(|rate| (rate - 50.0).abs() < 1e-9));
        assert!(
            done.end_to_end_rate()
                .is_ok_and(|rate| (rate - 25.0).abs() < 1e-9)
        );
        assert!(done.ensure(100).is_ok());
        let error = done.ensure(101).expect_err("one is lost").to_string();
        assert_eq!(error, "101 tasks were accepted, 100 completed");
        let none = Done {
            working: None,
            ..done
        };
        assert!(none.drain_rate().is_err());
    }
}
