//! Publishes the workflow templates of a worker.

use std::time::{Duration, Instant};

use tasker_config::Environment;
use tasker_platform::telemetry::Reminder;
use tasker_store::templates::{self, NewTemplate, Published};
use tasker_store::{self as store, PgPool};
use tasker_workflow::Definition;
use tracing::{info, warn};

use crate::run_error::RunError;

/// Time between attempts while Postgres does not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Publishes `definitions`, waiting for Postgres if it does not answer.
///
/// A published version never changes. In development one with another text is replaced, with a warning, since
/// its author is at work on it.
///
/// # Errors
/// Elsewhere, if a version is published with another text; the error names the next free version.
pub(crate) async fn publish(
    db: &PgPool,
    definitions: &[Definition],
    environment: Environment,
) -> Result<(), RunError> {
    let mut reminder = Reminder::default();
    let taken = loop {
        match try_publish(db, definitions, environment).await {
            Ok(taken) => break taken,
            Err(error) => {
                if reminder.is_due(&error.to_string(), Instant::now()) {
                    warn!(%error, "failed to publish workflow templates; retrying");
                }
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    };
    if !taken.is_empty() {
        return Err(RunError::TemplateVersions(taken));
    }
    info!(templates = definitions.len(), "published workflow templates");
    Ok(())
}

/// Publishes `definitions`; returns a sentence about each version that is published with another text.
async fn try_publish(
    db: &PgPool,
    definitions: &[Definition],
    environment: Environment,
) -> Result<Vec<String>, store::Error> {
    let mut taken = Vec::new();
    for definition in definitions {
        let row = row(definition);
        if templates::publish_new(db, &row).await? != Published::Other {
            continue;
        }
        let (namespace, name, version) = definition.id();
        if environment == Environment::Development {
            templates::publish(db, &[row]).await?;
            warn!(namespace, name, %version, "replaced a published workflow template by the one of this worker's files");
        } else {
            let next = next_free(db, definition).await?;
            taken.push(format!(
                "{namespace}/{name} {version} is published with another text; the next free version is {next}"
            ));
        }
    }
    Ok(taken)
}

/// Returns the version after the highest published one.
async fn next_free(db: &PgPool, definition: &Definition) -> Result<String, store::Error> {
    let mut highest = definition.version.clone();
    for text in templates::versions(db, &definition.namespace, &definition.name).await? {
        if let Ok(version) = text.parse()
            && version > highest
        {
            highest = version;
        }
    }
    Ok(format!(
        "{}.{}.{}",
        highest.major,
        highest.minor,
        highest.patch + 1
    ))
}

/// Returns the row of a definition.
fn row(definition: &Definition) -> NewTemplate {
    NewTemplate {
        namespace: definition.namespace.clone(),
        name: definition.name.clone(),
        version: definition.version.to_string(),
        description: definition.description.clone(),
        steps: i32::try_from(definition.steps.len()).unwrap_or(i32::MAX),
        template: definition.to_json(),
    }
}
