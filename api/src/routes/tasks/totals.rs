//! `GET /tasks/totals`

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::NaiveDate;
use tasker_core::task::limits::TOTALS_DAYS;
use tasker_store::totals::{self, Event, Filter, Total};
use tasker_wire::{DayTotals, TaskCounts, Totals, TypeTotals};

use crate::auth::Caller;
use crate::db::Db;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::openapi::problem_groups::QueryProblems;
use crate::routes::params::read_queue;

/// Get the numbers of submitted and finished tasks
///
/// By day (UTC) and by type, for the last days up to now; 400 days are kept, longer than the tasks
/// themselves. Reading them is cheap: the statements that change tasks maintain the counters.
#[utoipa::path(
    get,
    path = "/tasks/totals",
    tag = "tasks",
    params(
        ("days" = Option<i32>, Query, description = "The number of days, including today: 1 to 400, default 1",
            minimum = 1, maximum = 400),
        ("task_name" = Option<String>, Query, description = "Only tasks of this type"),
        ("queue" = Option<String>, Query, description = "Only tasks of this queue, by name or alias"),
    ),
    responses((status = 200, body = Totals, description = "The totals; days and types without tasks are left out"), QueryProblems),
)]
pub async fn task_totals(
    State(db): State<Db>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Totals>, ApiError> {
    let days = query.take("days", read_days).unwrap_or(1);
    let task_name = query.take("task_name", |text| Ok::<_, String>(text.to_owned()));
    let queue = query.take("queue", read_queue);
    query.finish()?;
    let filter = Filter {
        days,
        task_name,
        queues: caller.visible(queue)?,
    };
    let found = totals::totals(&db, &filter).await?;
    Ok(Json(by_day_and_type(found)))
}

fn read_days(text: &str) -> Result<i32, String> {
    let days = text.parse().ok().filter(|days| (1..=TOTALS_DAYS).contains(days));
    days.ok_or_else(|| format!("must be 1 to {TOTALS_DAYS}"))
}

fn by_day_and_type(found: Vec<Total>) -> Totals {
    let mut days: BTreeMap<NaiveDate, TaskCounts> = BTreeMap::new();
    let mut types: BTreeMap<String, TaskCounts> = BTreeMap::new();
    for total in found {
        if let Some(day) = total.day {
            *count(days.entry(day).or_default(), total.event) = total.tasks;
        } else if let Some(name) = total.task_name {
            *count(types.entry(name).or_default(), total.event) = total.tasks;
        }
    }
    Totals {
        days: days
            .into_iter()
            .map(|(day, counts)| DayTotals { day, counts })
            .collect(),
        types: types
            .into_iter()
            .map(|(task_name, counts)| TypeTotals { task_name, counts })
            .collect(),
    }
}

fn count(counts: &mut TaskCounts, event: Event) -> &mut i64 {
    match event {
        Event::Submitted => &mut counts.submitted,
        Event::Completed => &mut counts.completed,
        Event::Cancelled => &mut counts.cancelled,
        Event::DeadLetter => &mut counts.dead_letter,
        Event::RetryScheduled => &mut counts.retry_scheduled,
        Event::CancelledRetried => &mut counts.cancelled_retried,
        Event::DeadLetterRetried => &mut counts.dead_letter_retried,
        Event::Purged => &mut counts.purged,
    }
}
