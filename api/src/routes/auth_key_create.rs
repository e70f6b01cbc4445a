//! `POST /auth/keys`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tasker_shared::role::Role;
use tasker_shared::store::api_keys::{self, Created, NewApiKey};
use tasker_shared::task::priority::undeclared;
use tasker_shared::task::{QueueName, TaskId};
use tasker_shared::wire::{ApiKeyCreated, ApiKeyRequest};

use super::auth_keys::shown;
use crate::auth::credentials::KEY_PREFIX;
use crate::auth::keys::hash;
use crate::auth::{Caller, Refusal};
use crate::db::{retried, write_failed};
use crate::error::ApiError;
use crate::fault::{Fault, FaultKind};
use crate::http::body::SingleBody;
use crate::http::query::NoQuery;
use crate::openapi::SubmitProblems;
use crate::state::AppState;
use crate::submit::request::read_flat;

/// Longest name.
const NAME_CHARS_MAX: usize = 64;
/// Most queues that a key is held to.
const QUEUES_MAX: usize = 100;
/// Longest time that a key may hold, if it does not hold for ever.
const HOLDS_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// Make an API key
///
/// The answer holds the key, which is shown this once.
#[utoipa::path(
    post,
    path = "/auth/keys",
    tag = "sign-in",
    request_body = ApiKeyRequest,
    responses(
        (status = 201, body = ApiKeyCreated, description = "The key"),
        (status = 409, body = tasker_shared::wire::Problem, content_type = "application/problem+json",
         description = "Another key has this name, or there are too many"),
        SubmitProblems,
    ),
)]
pub async fn create_key(
    State(state): State<AppState>,
    caller: Caller,
    _: NoQuery,
    SingleBody(body, _held): SingleBody,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<ApiKeyCreated>), ApiError> {
    let request: ApiKeyRequest = read_flat(&body)?;
    let random: [u8; 32] = rand::random();
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let names = request.queues.iter().flatten();
    let queues = state.queue_table.covering(names.map(String::as_str)).await?;
    let new = read(request, &key, caller.name(), &queues).map_err(ApiError::Refused)?;
    let created = retried(|| api_keys::create(&state.db, &new)).await;
    match created.map_err(write_failed)? {
        Created::Stored(record) => {
            let unstored = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            let record = shown(record);
            Ok((StatusCode::CREATED, unstored, Json(ApiKeyCreated { key, record })))
        }
        Created::NameTaken => Err(Refusal::KeyNameTaken.into()),
        Created::TooMany => Err(Refusal::TooManyKeys.into()),
    }
}

/// The key that was asked for, or all that is wrong with it.
fn read(
    request: ApiKeyRequest,
    key: &str,
    created_by: &str,
    known: &[QueueName],
) -> Result<NewApiKey, Vec<Fault>> {
    let mut faults = Vec::new();
    if !is_name(&request.name) {
        let detail = format!(
            "must be 1 to {NAME_CHARS_MAX} letters, digits, `.`, `_` or `-`, the first a letter or digit"
        );
        faults.push(Fault::invalid("/name", detail));
    }
    let role = Role::parse(&request.role);
    if role.is_none() {
        let names = Role::ALL.map(Role::as_str).join(", ");
        faults.push(Fault::invalid("/role", format!("must be one of {names}")));
    }
    let queues = request
        .queues
        .map(|names| read_queues(&names, known, &mut faults));
    if queues.is_some() && role == Some(Role::Admin) {
        faults.push(Fault::invalid(
            "/queues",
            "cannot be given to an admin, who may do everything",
        ));
    }
    let holds_seconds = request.expires_in_seconds;
    if holds_seconds.is_some_and(|seconds| !(1..=HOLDS_MAX.as_secs()).contains(&seconds)) {
        let detail = format!("must be 1 to {}, which is ten years", HOLDS_MAX.as_secs());
        faults.push(Fault::invalid("/expires_in_seconds", detail));
    }
    match role {
        Some(role) if faults.is_empty() => Ok(NewApiKey {
            id: TaskId::generate().0,
            name: request.name,
            sha256: hash(key),
            role,
            queues,
            holds_seconds: holds_seconds.map(|seconds| Duration::from_secs(seconds).as_secs_f64()),
            created_by: created_by.to_owned(),
        }),
        _ => Err(faults),
    }
}

/// As the table has it too.
fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    first && rest && text.len() <= NAME_CHARS_MAX
}

fn read_queues(names: &[String], known: &[QueueName], faults: &mut Vec<Fault>) -> Vec<QueueName> {
    if names.is_empty() || names.len() > QUEUES_MAX {
        let detail = format!(
            "has {} queues; 1 to {QUEUES_MAX} are allowed, and none at all means every one",
            names.len()
        );
        faults.push(Fault::invalid("/queues", detail));
    }
    let mut queues: Vec<QueueName> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match QueueName::parse(name).ok().filter(|queue| known.contains(queue)) {
            Some(queue) if queues.contains(&queue) => {}
            Some(queue) => queues.push(queue),
            None => {
                let detail = undeclared(known);
                faults.push(Fault::new(
                    FaultKind::UnknownQueue,
                    format!("/queues/{index}"),
                    detail,
                ));
            }
        }
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(
        name: &str,
        role: &str,
        queues: Option<&[&str]>,
        expires_in_seconds: Option<u64>,
    ) -> ApiKeyRequest {
        ApiKeyRequest {
            name: name.to_owned(),
            role: role.to_owned(),
            queues: queues.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            expires_in_seconds,
        }
    }

    fn pointers(request: ApiKeyRequest) -> Vec<String> {
        match read(request, "tsk_x", "ops", &QueueName::classes()) {
            Ok(key) => panic!("{key:?} was taken"),
            Err(faults) => faults.into_iter().map(|fault| fault.pointer).collect(),
        }
    }

    #[test]
    fn queues_are_taken_by_alias_and_once() {
        let sound = request(
            "deploy-1",
            "submitter",
            Some(&["high", "high_priority"]),
            Some(60),
        );
        let key = read(sound, "tsk_x", "ops", &QueueName::classes()).expect("sound");
        assert_eq!(key.queues, Some(vec![QueueName::high()]));
        assert_eq!(key.holds_seconds, Some(60.0));
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        assert_eq!(
            pointers(request("a b", "root", Some(&["high", "nope"]), Some(0))),
            ["/name", "/role", "/queues/1", "/expires_in_seconds"]
        );
        assert_eq!(
            pointers(request("a", "admin", Some(&["high"]), None)),
            ["/queues"]
        );
        assert_eq!(
            pointers(request("-a", "viewer", Some(&[]), None)),
            ["/name", "/queues"]
        );
    }
}
