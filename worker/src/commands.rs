//! The commands of a worker's program that start no worker: `types` and `ping`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tasker_config::{EXIT_FAILURE, WorkerConfig};
use tasker_queue::RedisQueues;
use tasker_store as store;
use tasker_store::task_types::TaskType;

use crate::registry::Registry;
use crate::start::cause;
use crate::task_type::AnyTaskType;

/// Time limit for one answer of Postgres. Redis has its own.
const PING_LIMIT: Duration = Duration::from_secs(3);

/// Prints the task types, as a table or as JSON, and returns the exit code.
pub(crate) fn types(tasks: Vec<AnyTaskType>, json: bool) -> i32 {
    match Registry::new(tasks) {
        Ok(registry) => {
            let types = registry.published();
            let text = if json {
                format!("{:#}\n", as_json(&types))
            } else {
                table(&types)
            };
            print(&text, 0)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            EXIT_FAILURE
        }
    }
}

/// Sends a ping to Postgres and to Redis, prints the round-trip times or the causes, and returns the exit
/// code: 0 if both answered.
pub(crate) async fn ping(config: &WorkerConfig) -> i32 {
    let postgres = ping_postgres(config).await;
    let redis = if config.mode.uses_redis() {
        Some(ping_redis(config).await)
    } else {
        None
    };
    let answered = postgres.is_ok() && redis.as_ref().is_none_or(Result::is_ok);
    let text = format!(
        "{}{}",
        line("postgres", Some(&postgres)),
        line("redis", redis.as_ref())
    );
    print(&text, if answered { 0 } else { EXIT_FAILURE })
}

/// Prints `text` and returns `code`, or that of a failure if the output is closed.
fn print(text: &str, code: i32) -> i32 {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => EXIT_FAILURE,
    }
}

async fn ping_postgres(config: &WorkerConfig) -> Result<Duration, String> {
    let db = store::connect(&config.database, "tasker-worker").map_err(|error| chain(&error))?;
    // opens the connection, so that the second one takes one round trip
    if let Err(error) = store::bounded(PING_LIMIT, store::is_up(&db)).await {
        return Err(chain(&cause(&db, error).await));
    }
    let began = Instant::now();
    let answer = store::bounded(PING_LIMIT, store::is_up(&db)).await;
    answer.map(|()| began.elapsed()).map_err(|error| chain(&error))
}

async fn ping_redis(config: &WorkerConfig) -> Result<Duration, String> {
    let redis = RedisQueues::new(&config.redis).map_err(|error| chain(&error))?;
    redis.is_up().await.map_err(|error| chain(&error))?;
    let began = Instant::now();
    let answer = redis.is_up().await;
    answer.map(|()| began.elapsed()).map_err(|error| chain(&error))
}

/// Returns an error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let shown = cause.to_string();
        // some errors repeat the text of their cause
        if !text.ends_with(&shown) {
            let _ = write!(text, ": {shown}");
        }
        source = cause.source();
    }
    text
}

/// Returns the line about a service; an answer of `None` means that the worker does not use it.
fn line(service: &str, answer: Option<&Result<Duration, String>>) -> String {
    match answer {
        Some(Ok(time)) => format!("{service:<8}  {:.2} ms\n", time.as_secs_f64() * 1_000.0),
        Some(Err(cause)) => format!("{service:<8}  failed: {cause}\n"),
        None => format!("{service:<8}  not used: DISPATCH_MODE=PollingOnly\n"),
    }
}

fn table(types: &[TaskType]) -> String {
    let width = types.iter().map(|task| task.name.chars().count()).max();
    let width = width.unwrap_or(0).max("NAME".len());
    let mut text = format!("{:<width$}  DESCRIPTION\n", "NAME");
    for task in types {
        let description = task.description.lines().next().unwrap_or_default();
        let row = format!("{:<width$}  {description}", task.name);
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

fn as_json(types: &[TaskType]) -> Value {
    // the schemas were generated as JSON text
    let schema = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let shown = |task: &TaskType| {
        json!({
            "name": task.name,
            "description": task.description,
            "queue": task.queue,
            "priority": task.priority,
            "max_retries": task.max_retries,
            "timeout": task.timeout_seconds,
            "required_role": task.required_role,
            "parameters_schema": schema(task.parameters_schema.as_deref()),
            "result_schema": schema(task.result_schema.as_deref()),
        })
    };
    json!({ "types": types.iter().map(shown).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Vec<TaskType> {
        use crate::TaskType;
        let long = TaskType::blocking("a_long_name", |_, (): ()| Ok(())).description("Does it.\nAt length.");
        let short = TaskType::blocking("b", |_, (): ()| Ok(()));
        let registry = Registry::new(vec![short.into(), long.into()]).expect("valid types");
        registry.published()
    }

    #[test]
    fn the_table_has_a_line_for_each_type_sorted_and_aligned() {
        assert_eq!(
            table(&published()),
            "NAME         DESCRIPTION\na_long_name  Does it.\nb\n"
        );
    }

    #[test]
    fn the_json_has_the_whole_description_and_the_schemas() {
        let shown = as_json(&published());
        assert_eq!(shown["types"][0]["name"], "a_long_name");
        assert_eq!(shown["types"][0]["description"], "Does it.\nAt length.");
        assert_eq!(shown["types"][1]["result_schema"]["type"], "null");
        assert_eq!(shown["types"][1]["queue"], Value::Null);
    }

    #[test]
    fn types_that_cannot_be_registered_are_an_error() {
        assert_eq!(types(Vec::new(), false), EXIT_FAILURE);
    }

    #[test]
    fn a_ping_shows_the_time_or_the_cause() {
        assert_eq!(
            line("redis", Some(&Ok(Duration::from_micros(1_234)))),
            "redis     1.23 ms\n"
        );
        assert_eq!(
            line("postgres", Some(&Err("no".to_owned()))),
            "postgres  failed: no\n"
        );
        assert!(line("redis", None).contains("not used"));
    }
}
