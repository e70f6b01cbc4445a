//! Ids and names in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use tasker_shared::task::{QueueName, TaskId};

use crate::error::ApiError;
use crate::state::AppState;

/// The task that a path names.
#[derive(Debug, Clone, Copy)]
pub struct TaskPath(pub TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::InvalidId)?;
        text.parse().map(Self).map_err(|_| ApiError::InvalidId)
    }
}

/// The declared queue that a path names, by name or alias.
#[derive(Debug, Clone)]
pub struct QueuePath(pub QueueName);

impl FromRequestParts<AppState> for QueuePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let unknown = || ApiError::QueueNotFound(state.queues.clone());
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| unknown())?;
        match QueueName::parse(&text) {
            Ok(name) if state.queues.contains(&name) => Ok(Self(name)),
            _ => Err(unknown()),
        }
    }
}
