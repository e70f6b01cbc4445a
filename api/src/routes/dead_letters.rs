//! `GET /dead-letter`, and what its siblings share.

use axum::Json;
use axum::extract::State;
use tasker_shared::store::dead_letters::{self, Filter};
use tasker_shared::task::retry::DeadLetterReason;
use tasker_shared::wire::{DeadLetterFilter, TaskPage};

use super::list::{LIMIT, invalid_cursor, read_limit, read_queue, read_time};
use super::view;
use crate::auth::Caller;
use crate::cursor;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::http::query::Query;
use crate::openapi::QueryProblems;
use crate::state::AppState;
use crate::submit::request::read_flat;

/// List the dead letters, newest first
///
/// In the order of their submission. A page may hold fewer tasks than `limit`; only a `next_cursor` of null ends the list.
/// The `updated_at` of a dead letter is when it died.
#[utoipa::path(
    get,
    path = "/dead-letter",
    tag = "dead letters",
    params(
        ("task_name" = Option<String>, Query, description = "Only those of this type"),
        ("queue" = Option<String>, Query, description = "Only those of this queue, by name or alias"),
        ("reason" = Option<String>, Query, description = "Only `exhausted`, `failed`, `timeout` or `crash_loop`"),
        ("before" = Option<DateTime<Utc>>, Query, description = "Only those that died before this time: their `updated_at`"),
        ("limit" = Option<i64>, Query, description = "1 to 1,000; 50 if left out", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filter"),
    ),
    responses((status = 200, body = TaskPage, description = "A page"), QueryProblems),
)]
pub async fn list_dead_letters(
    State(state): State<AppState>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<TaskPage>, ApiError> {
    let mut filter = Filter {
        task_name: query.take("task_name", |text| Ok::<_, String>(text.to_owned())),
        queues: None,
        reason: query.take("reason", read_reason),
        before: query.take("before", read_time),
    };
    let queue = query.take("queue", read_queue);
    let limit = query.take("limit", read_limit).unwrap_or(LIMIT);
    let cursor = query.take("cursor", |text| Ok::<_, String>(text.to_owned()));
    query.finish()?;
    filter.queues = caller.visible(queue)?;
    let name = format!("dead letters {filter:?}");
    let below = match cursor {
        None => None,
        Some(text) => Some(cursor::decode(&text, &name).ok_or_else(invalid_cursor)?),
    };
    let page = dead_letters::list(&state.db, &filter, below, limit).await?;
    let tasks = page.tasks.into_iter().map(view::task).collect::<Result<_, _>>()?;
    let next_cursor = page.next.map(|id| cursor::encode(id, &name));
    Ok(Json(TaskPage { tasks, next_cursor }))
}

/// The filter in a body, narrowed to what the caller may act on.
pub(super) fn read_filter(body: &[u8], caller: &Caller) -> Result<Filter, ApiError> {
    let sent: DeadLetterFilter = read_flat(body)?;
    let mut faults = Vec::new();
    let queue = field("/queue", sent.queue, read_queue, &mut faults);
    let mut filter = Filter {
        task_name: sent.task_name,
        queues: None,
        reason: field("/reason", sent.reason, read_reason, &mut faults),
        before: field("/before", sent.before, read_time, &mut faults),
    };
    if !faults.is_empty() {
        return Err(ApiError::Refused(faults));
    }
    filter.queues = caller.narrowed(queue)?.map(|queue| vec![queue]);
    Ok(filter)
}

/// Whether `?dry_run` asks to count only.
pub(super) fn read_dry_run(mut query: Query) -> Result<bool, ApiError> {
    let dry_run = query.take("dry_run", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    });
    query.finish()?;
    Ok(dry_run.unwrap_or_default())
}

fn field<T, E: Into<String>>(
    pointer: &str,
    text: Option<String>,
    read: impl FnOnce(&str) -> Result<T, E>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    read(&text?)
        .map_err(|detail| faults.push(Fault::invalid(pointer, detail)))
        .ok()
}

fn read_reason(text: &str) -> Result<DeadLetterReason, String> {
    DeadLetterReason::parse(text).ok_or_else(|| {
        let names = DeadLetterReason::ALL.map(DeadLetterReason::as_str);
        format!("must be one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use tasker_shared::task::QueueName;

    use super::*;
    use crate::auth::Identity;

    fn anybody() -> Caller {
        Caller {
            identity: Arc::new(Identity::everybody()),
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn pointers(body: &str) -> Vec<String> {
        match read_filter(body.as_bytes(), &anybody()) {
            Err(ApiError::Refused(faults)) => faults.into_iter().map(|fault| fault.pointer).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn an_empty_object_means_all_dead_letters() {
        let filter = read_filter(b"{}", &anybody()).expect("sound");
        assert!(filter.task_name.is_none() && filter.queues.is_none());
        assert!(filter.reason.is_none() && filter.before.is_none());
    }

    #[test]
    fn a_filter_is_read_with_its_aliases() {
        let body =
            br#"{"task_name":"t","queue":"high","reason":"crash_loop","before":"2026-01-31T12:00:00+01:00"}"#;
        let filter = read_filter(body, &anybody()).expect("sound");
        assert_eq!(filter.queues, Some(vec![QueueName::high()]));
        assert_eq!(filter.reason, Some(DeadLetterReason::CrashLoop));
        assert_eq!(
            filter.before.map(|time| time.to_rfc3339()).as_deref(),
            Some("2026-01-31T11:00:00+00:00")
        );
    }

    #[test]
    fn what_could_widen_a_purge_by_a_slip_is_refused() {
        assert_eq!(pointers(r#"{"queues":"low"}"#), ["/queues"]);
        assert_eq!(pointers(r#"{"task_name":null}"#), ["/task_name"]);
        assert_eq!(
            pointers(r#"{"queue":"NO","reason":"bad luck","before":"yesterday"}"#),
            ["/queue", "/reason", "/before"]
        );
        assert!(matches!(
            read_filter(b"", &anybody()),
            Err(ApiError::Malformed(_))
        ));
    }
}
