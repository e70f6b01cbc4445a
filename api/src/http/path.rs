//! Ids and names in paths. To a caller that is restricted to some queues, tasks of other queues do not exist.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;
use tasker_core::task::{QueueName, TaskId};
use tasker_store::records;
use tasker_store::workflows::{self, StepRecord};

use crate::auth::Caller;
use crate::db::Db;
use crate::error::ApiError;
use crate::queues::QueueTable;

/// The task in a path.
#[derive(Debug, Clone, Copy)]
pub struct TaskPath(pub TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath
where
    Db: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::InvalidId)?;
        let id: TaskId = text.parse().map_err(|_| ApiError::InvalidId)?;
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.queues().is_some() {
            // the queue of a task never changes, so the check stays true until the handler runs
            let queue = records::queue_of(&Db::from_ref(state), id).await?;
            if !queue.is_some_and(|queue| caller.may_use(&queue)) {
                return Err(ApiError::TaskNotFound(id));
            }
        }
        Ok(Self(id))
    }
}

/// The workflow in a path. To a caller that is restricted to some queues, a workflow exists only if all its
/// queues are among them.
#[derive(Debug, Clone, Copy)]
pub struct WorkflowPath(pub TaskId);

impl<S: Send + Sync> FromRequestParts<S> for WorkflowPath
where
    Db: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Id {
            id: String,
        }
        let Path(Id { id }) = Path::<Id>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::InvalidId)?;
        let id: TaskId = id.parse().map_err(|_| ApiError::InvalidId)?;
        let caller = Caller::from_request_parts(parts, state).await?;
        let queues = workflows::queues_of(&Db::from_ref(state), id).await?;
        // the queues of a workflow never change, so the check stays true until the handler runs
        if !queues.is_some_and(|queues| queues.iter().all(|queue| caller.may_use(queue))) {
            return Err(ApiError::WorkflowNotFound(id));
        }
        Ok(Self(id))
    }
}

/// The step of a workflow in a path, by its name or id.
#[derive(Debug, Clone)]
pub struct StepPath {
    /// The workflow.
    pub workflow: TaskId,
    /// The name or the id of the step.
    pub step: String,
}

impl<S: Send + Sync> FromRequestParts<S> for StepPath
where
    Db: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Step {
            step: String,
        }
        let WorkflowPath(workflow) = WorkflowPath::from_request_parts(parts, state).await?;
        let Path(Step { step }) = Path::<Step>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::StepNotFound)?;
        // Postgres rejects NUL, so it cannot name a step
        if step.contains('\0') {
            return Err(ApiError::StepNotFound);
        }
        Ok(Self { workflow, step })
    }
}

impl StepPath {
    /// Returns the record of the step.
    pub async fn find(&self, db: &Db) -> Result<StepRecord, ApiError> {
        let id = if let Ok(id) = self.step.parse::<TaskId>() {
            Some(id)
        } else {
            let named = workflows::steps(db, self.workflow, Some(&self.step), None, TaskId::MIN, 1);
            named.await?.pop().map(|step| step.id)
        };
        let found = match id {
            Some(id) => workflows::step(db, self.workflow, id).await?,
            None => None,
        };
        found.ok_or(ApiError::StepNotFound)
    }
}

/// The declared queue in a path, by name or alias.
#[derive(Debug, Clone)]
pub struct QueuePath(pub QueueName);

impl<S: Send + Sync> FromRequestParts<S> for QueuePath
where
    Arc<QueueTable>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let table = Arc::<QueueTable>::from_ref(state);
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::QueueNotFound(table.declared().snapshot().to_vec()))?;
        let declared = table.covering([text.as_str()]).await?;
        let name = QueueName::parse(&text)
            .ok()
            .filter(|name| declared.contains(name));
        let name = name.ok_or_else(|| ApiError::QueueNotFound(declared.to_vec()))?;
        Caller::from_request_parts(parts, state).await?.check(&name)?;
        Ok(Self(name))
    }
}

/// The template in a path, and its version where the path has one.
#[derive(Debug, Clone, Deserialize)]
pub struct TemplatePath {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The version; `None` for the newest.
    pub version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for TemplatePath {
    type Rejection = ApiError;

    /// Text that is not valid UTF-8 or contains NUL, which Postgres rejects, cannot name a template: 404.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(path) = Path::<Self>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::TemplateNotFound)?;
        let texts = [Some(&path.namespace), Some(&path.name), path.version.as_ref()];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(ApiError::TemplateNotFound);
        }
        Ok(path)
    }
}
