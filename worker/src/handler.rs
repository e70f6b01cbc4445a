//! Handlers in their type-erased form.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::results;
use crate::task_error::TaskError;

type HandlerFuture = Pin<Box<dyn Future<Output = Result<String, TaskError>> + Send>>;

/// A type-erased handler: JSON text in, JSON text out.
#[derive(Clone)]
pub(crate) enum Handler {
    /// Runs on the async runtime.
    Async(Arc<dyn Fn(Context, String) -> HandlerFuture + Send + Sync>),
    /// Runs on a thread of its own.
    Blocking(Arc<dyn Fn(Context, String) -> Result<String, TaskError> + Send + Sync>),
}

impl Handler {
    pub(crate) fn new<P, R, F, Fut>(handler: F) -> Self
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize,
        F: Fn(Context, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        Self::Async(Arc::new(move |context, parameters| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let result = handler(context, read::<P>(&parameters)?).await?;
                results::encode(&result)
            })
        }))
    }

    pub(crate) fn blocking<P, R, F>(handler: F) -> Self
    where
        P: DeserializeOwned,
        R: Serialize,
        F: Fn(Context, P) -> Result<R, TaskError> + Send + Sync + 'static,
    {
        Self::Blocking(Arc::new(move |context, parameters| {
            let result = handler(context, read::<P>(&parameters)?)?;
            results::encode(&result)
        }))
    }
}

/// Parses parameters. An error is not retried: the same parameters would fail again.
fn read<P: DeserializeOwned>(parameters: &str) -> Result<P, TaskError> {
    let mut reader = serde_json::Deserializer::from_str(parameters);
    // the depth was checked when the task was submitted, and its limit is above serde_json's own
    reader.disable_recursion_limit();
    P::deserialize(&mut reader)
        .and_then(|parameters| reader.end().map(|()| parameters))
        .map_err(|error| TaskError::fail(format!("invalid_parameters: {error}")))
}
