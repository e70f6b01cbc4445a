//! `POST /queues`

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use tasker_core::task::QueueName;
use tasker_core::task::limits::QUEUES;
use tasker_store::queues::{self, Declared};
use tasker_store::retry_rolled_back;
use tasker_wire::{QueueInfo, QueueRequest};
use tracing::warn;

use super::states::queue_now;
use crate::auth::{AuditTarget, Caller};
use crate::db::write_failed;
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::fields::Fields;
use crate::http::query::NoQuery;
use crate::http::values;
use crate::openapi::problem_groups::SubmitProblems;
use crate::state::parts::QueueControl;
use crate::validation_error::ValidationError;

/// Declare a queue
///
/// Every server accepts it within two seconds, and workers can be started with it in `TASK_QUEUES`.
/// Idempotent.
#[utoipa::path(
    post,
    path = "/queues",
    tag = "queues",
    request_body = QueueRequest,
    responses(
        (status = 201, body = QueueInfo, description = "The new queue"),
        (status = 200, body = QueueInfo, description = "The queue, which already existed"),
        SubmitProblems,
    ),
)]
pub async fn create_queue(
    State(control): State<QueueControl>,
    caller: Caller,
    _: NoQuery,
    SingleBody(body, _held): SingleBody,
) -> Result<(StatusCode, Extension<AuditTarget>, Json<QueueInfo>), ApiError> {
    let name = read(Fields::of_body(&body)?).map_err(ApiError::Invalid)?;
    caller.check(&name)?;
    let status = match declare(&control, &name).await? {
        Declared::Created => StatusCode::CREATED,
        Declared::Existed => StatusCode::OK,
        Declared::TooMany => return Err(ApiError::Invalid(vec![too_many("/name")])),
    };
    let audit_target = Extension(AuditTarget(name.to_string()));
    let queue = queue_now(&control, name).await?;
    Ok((status, audit_target, Json(queue)))
}

/// Declares a queue in Postgres and in this server's list.
pub(in crate::routes) async fn declare(
    control: &QueueControl,
    name: &QueueName,
) -> Result<Declared, ApiError> {
    let declared = retry_rolled_back(|| queues::create(&control.db, name)).await;
    let declared = declared.map_err(write_failed)?;
    if declared == Declared::Created {
        metrics::counter!("tasker_operator_actions_total", "action" => "create").increment(1);
    }
    // only this server's copy is late if this fails: the queue is committed
    if let Err(error) = control.table.refresh().await {
        warn!(cause = %error, "cannot refresh the declared queues");
    }
    Ok(declared)
}

fn read(mut fields: Fields<'_>) -> Result<QueueName, Vec<ValidationError>> {
    let name = fields.require("name", |raw| read_name(&values::text(raw)?));
    let errors = fields.finish();
    name.filter(|_| errors.is_empty()).ok_or(errors)
}

fn read_name(text: &str) -> Result<QueueName, String> {
    if let Some(queue) = QueueName::of_alias(text) {
        return Err(format!(
            "is an alias of the queue {queue}, which always exists; choose another name"
        ));
    }
    QueueName::parse(text).map_err(|_| "must match [a-z0-9][a-z0-9_.-]{0,63}, such as `team.mail`".to_owned())
}

/// Returns the error for a queue above the limit, whose name stands at `pointer`.
pub(in crate::routes) fn too_many(pointer: &str) -> ValidationError {
    let detail = format!("cannot be declared: the maximum of {QUEUES} queues is reached");
    ValidationError::invalid(pointer, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_and_a_bad_name_are_rejected_with_the_way_out() {
        let detail = |text: &str| read_name(text).expect_err("rejected");
        assert!(detail("high").contains("alias of the queue high_priority"));
        for text in ["", "Mail", "a b", "-a", ".a", "ä", "a/b", &"a".repeat(65)] {
            assert!(detail(text).contains("[a-z0-9][a-z0-9_.-]{0,63}"), "{text:?}");
        }
        for text in ["0", "a-b_c.d", "high_priority", &"a".repeat(64)] {
            assert_eq!(read_name(text).expect("a name").as_str(), text);
        }
    }
}
