//! `POST /auth/keys`

use std::future::ready;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tasker_core::role::Role;
use tasker_core::task::priority::undeclared;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::api_keys::{self, Created, NewApiKey};
use tasker_store::retry_rolled_back;
use tasker_wire::{ApiKeyCreated, ApiKeyRequest};

use super::list::shown;
use crate::auth::api_keys::hash;
use crate::auth::credentials::KEY_PREFIX;
use crate::auth::key_limits::{LIFETIME_SECONDS_MAX, NAME_CHARS_MAX, QUEUES_MAX};
use crate::auth::{AuthRejection, Caller};
use crate::db::{Db, write_failed};
use crate::error::ApiError;
use crate::http::body::SingleBody;
use crate::http::fields::Fields;
use crate::http::query::NoQuery;
use crate::http::values;
use crate::known_names::{KnownNames, NamesSnapshot};
use crate::openapi::problem_groups::SubmitProblems;
use crate::validation_error::{ValidationError, ValidationErrorKind};

/// Create an API key
///
/// The response contains the key. It is not stored and cannot be shown again.
#[utoipa::path(
    post,
    path = "/auth/keys",
    tag = "sign-in",
    request_body = ApiKeyRequest,
    responses(
        (status = 201, body = ApiKeyCreated, description = "The new key"),
        (status = 409, body = tasker_wire::Problem, content_type = "application/problem+json",
         description = "Another key has this name, or the maximum number of keys is reached"),
        SubmitProblems,
    ),
)]
pub async fn create_key(
    State(db): State<Db>,
    State(names): State<KnownNames>,
    caller: Caller,
    _: NoQuery,
    SingleBody(body, _held): SingleBody,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<ApiKeyCreated>), ApiError> {
    // 256 bits cannot be guessed, so a fast hash is enough to store the key
    let random: [u8; 32] = rand::random();
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let read = |names: &NamesSnapshot| {
        let fields = Fields::of_body(&body)?;
        read(fields, &key, caller.name(), &names.queues).map_err(ApiError::Invalid)
    };
    let new = names.checked(|names| ready(read(&names))).await?;
    let created = retry_rolled_back(|| api_keys::create(&db, &new)).await;
    match created.map_err(write_failed)? {
        Created::Stored(record) => {
            // the answer holds a secret
            let unstored = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            let record = shown(record);
            Ok((StatusCode::CREATED, unstored, Json(ApiKeyCreated { key, record })))
        }
        Created::NameTaken => Err(AuthRejection::KeyNameTaken.into()),
        Created::TooMany => Err(AuthRejection::TooManyKeys.into()),
    }
}

/// Returns the requested key, or all validation errors of the request.
fn read(
    mut fields: Fields<'_>,
    key: &str,
    created_by: &str,
    known: &[QueueName],
) -> Result<NewApiKey, Vec<ValidationError>> {
    let name = fields.require("name", |raw| values::string(raw).and_then(read_name));
    let role = fields.require("role", |raw| read_role(&values::text(raw)?));
    let queues = fields.take_texts("queues");
    let holds_seconds = fields.take("expires_in_seconds", |raw| {
        values::whole(1..=LIFETIME_SECONDS_MAX)(raw).map_err(|detail| format!("{detail}, which is ten years"))
    });
    if queues.is_some() && role == Some(Role::Admin) {
        fields.add_error(
            "queues",
            "cannot be combined with the role admin, which has access to all queues",
        );
    }
    let mut errors = fields.finish();
    let queues = queues.map(|names| read_queues(&names, known, &mut errors));
    match (name, role) {
        (Some(name), Some(role)) if errors.is_empty() => Ok(NewApiKey {
            id: TaskId::generate().0,
            name,
            sha256: hash(key),
            role,
            queues,
            holds_seconds: holds_seconds
                .map(|seconds| Duration::from_secs(seconds.unsigned_abs()).as_secs_f64()),
            created_by: created_by.to_owned(),
        }),
        _ => Err(errors),
    }
}

fn read_name(name: String) -> Result<String, String> {
    if is_name(&name) {
        return Ok(name);
    }
    Err(format!(
        "must be 1 to {NAME_CHARS_MAX} letters, digits, `.`, `_` or `-`, the first a letter or digit"
    ))
}

fn read_role(name: &str) -> Result<Role, String> {
    Role::parse(name).ok_or_else(|| format!("must be one of {}", Role::NAMES.join(", ")))
}

/// Returns true if `text` satisfies the CHECK constraint on key names.
fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    first && rest && text.len() <= NAME_CHARS_MAX
}

fn read_queues(names: &[String], known: &[QueueName], errors: &mut Vec<ValidationError>) -> Vec<QueueName> {
    if names.is_empty() || names.len() > QUEUES_MAX {
        let detail = format!(
            "has {} queues; the limits are 1 to {QUEUES_MAX}. Leave it out to allow every queue",
            names.len()
        );
        errors.push(ValidationError::invalid("/queues", detail));
    }
    let mut queues: Vec<QueueName> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match QueueName::parse(name).ok().filter(|queue| known.contains(queue)) {
            Some(queue) if queues.contains(&queue) => {}
            Some(queue) => queues.push(queue),
            None => {
                let detail = undeclared(known.iter().map(QueueName::as_str));
                let pointer = format!("/queues/{index}");
                // an element that is not text has an error already
                if !errors.iter().any(|error| error.pointer == pointer) {
                    errors.push(ValidationError::new(
                        ValidationErrorKind::UnknownQueue,
                        pointer,
                        detail,
                    ));
                }
            }
        }
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Result<NewApiKey, Vec<ValidationError>> {
        let fields = Fields::of_body(body.as_bytes()).expect(body);
        read(fields, "tsk_x", "ops", &QueueName::classes())
    }

    fn pointers(body: &str) -> Vec<String> {
        match request(body) {
            Ok(key) => panic!("{key:?} was taken"),
            Err(errors) => errors.into_iter().map(|error| error.pointer).collect(),
        }
    }

    #[test]
    fn queues_are_taken_by_alias_and_once() {
        let valid = r#"{"name":"deploy-1","role":"submitter","queues":["high","high_priority"],"expires_in_seconds":60}"#;
        let key = request(valid).expect("valid");
        assert_eq!(key.queues, Some(vec![QueueName::high()]));
        assert_eq!(key.holds_seconds, Some(60.0));
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        for (body, places) in [
            (
                r#"{"name":"a b","role":"root","queues":["high","nope",5],"expires_in_seconds":0,"rôle":1}"#,
                vec![
                    "/name",
                    "/role",
                    "/queues/2",
                    "/expires_in_seconds",
                    "/rôle",
                    "/queues/1",
                ],
            ),
            ("{}", vec!["/name", "/role"]),
            (
                r#"{"name":"a","role":"admin","queues":["high"]}"#,
                vec!["/queues"],
            ),
            (
                r#"{"name":"-a","role":"viewer","queues":[]}"#,
                vec!["/name", "/queues"],
            ),
            (
                r#"{"name":5,"role":null,"queues":"high","expires_in_seconds":"1h"}"#,
                vec!["/name", "/role", "/queues", "/expires_in_seconds"],
            ),
        ] {
            assert_eq!(pointers(body), places, "{body}");
        }
    }
}
