//! Published workflow templates.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, Result};

/// The maximum length of a list.
pub const LISTED_MAX: i64 = 10_000;

/// A version of a template to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTemplate {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version, by the rules of <https://semver.org>.
    pub version: String,
    /// Its description.
    pub description: String,
    /// The number of its steps.
    pub steps: i32,
    /// JSON text of its definition, in its normalised form.
    pub template: String,
}

/// A template in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its description.
    pub description: String,
    /// The number of its steps.
    pub steps: i32,
    /// The time of its last change.
    pub published_at: DateTime<Utc>,
}

/// A template as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// JSON text of the template.
    pub template: String,
    /// The time of its last change.
    pub published_at: DateTime<Utc>,
}

/// Publishes templates. The newest publication of a version is valid; an identical one changes no rows.
pub async fn publish(db: impl PgExecutor<'_>, templates: &[NewTemplate]) -> Result<()> {
    let namespaces: Vec<&str> = templates.iter().map(|t| t.namespace.as_str()).collect();
    let names: Vec<&str> = templates.iter().map(|t| t.name.as_str()).collect();
    let versions: Vec<&str> = templates.iter().map(|t| t.version.as_str()).collect();
    let descriptions: Vec<&str> = templates.iter().map(|t| t.description.as_str()).collect();
    let steps: Vec<i32> = templates.iter().map(|t| t.steps).collect();
    let texts: Vec<&str> = templates.iter().map(|t| t.template.as_str()).collect();
    sqlx::query!(
        r#"
        INSERT INTO workflow_templates AS known (namespace, name, version, description, steps, template)
        SELECT namespace, name, version, description, steps, template::json
          FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[])
            AS t(namespace, name, version, description, steps, template)
         ORDER BY namespace, name, version
            ON CONFLICT (namespace, name, version) DO UPDATE
           SET description = excluded.description, steps = excluded.steps, template = excluded.template,
               published_at = now()
         WHERE known.template::text <> excluded.template::text
        "#,
        namespaces as _,
        names as _,
        versions as _,
        descriptions as _,
        &steps,
        texts as _,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}

/// The outcome of [`publish_new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The version is new.
    New,
    /// The version was there with the same text.
    Same,
    /// The version is there with another text, which stays.
    Other,
}

/// Publishes a version of a template that is never changed: one that is there stays as it is.
pub async fn publish_new(db: impl PgExecutor<'_>, template: &NewTemplate) -> Result<Published> {
    let row = sqlx::query!(
        r#"
        WITH added AS (
            INSERT INTO workflow_templates (namespace, name, version, description, steps, template)
            VALUES ($1, $2, $3, $4, $5, $6::text::json)
                ON CONFLICT DO NOTHING
            RETURNING 1
        )
        SELECT EXISTS (SELECT FROM added) AS "added!",
               (SELECT template::text = $6::text
                  FROM workflow_templates
                 WHERE namespace = $1 AND name = $2 AND version = $3) AS same
        "#,
        template.namespace,
        template.name,
        template.version,
        template.description,
        template.steps,
        template.template,
    )
    .fetch_one(db)
    .await?;
    Ok(match (row.added, row.same) {
        (true, _) => Published::New,
        (false, Some(true)) => Published::Same,
        // one that was added meanwhile is not in this statement's snapshot; the caller may ask again
        (false, _) => Published::Other,
    })
}

/// Deletes a version of a template; returns whether it existed. Workflows that run by it keep their
/// definition.
pub async fn delete(db: impl PgExecutor<'_>, namespace: &str, name: &str, version: &str) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM workflow_templates WHERE namespace = $1 AND name = $2 AND version = $3",
        namespace,
        name,
        version,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Returns the templates with all their versions, by namespace and name; at most [`LISTED_MAX`].
pub async fn all(db: impl PgExecutor<'_>) -> Result<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        r#"
        SELECT namespace, name, version, description, steps, published_at
          FROM workflow_templates
         ORDER BY namespace, name, version
         LIMIT $1
        "#,
        LISTED_MAX,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns the versions of a template, the most recently changed first; at most [`LISTED_MAX`].
pub async fn versions(db: impl PgExecutor<'_>, namespace: &str, name: &str) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        SELECT version
          FROM workflow_templates
         WHERE namespace = $1 AND name = $2
         ORDER BY published_at DESC, version
         LIMIT $3
        "#,
        namespace,
        name,
        LISTED_MAX,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns the namespaces that have a template of this name.
pub async fn namespaces_of(db: impl PgExecutor<'_>, name: &str) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT DISTINCT namespace FROM workflow_templates WHERE name = $1 ORDER BY namespace LIMIT $2",
        name,
        LISTED_MAX,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Returns one version of a template; `None` if it does not exist.
pub async fn get(
    db: impl PgExecutor<'_>,
    namespace: &str,
    name: &str,
    version: &str,
) -> Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"
        SELECT template::text AS "template!", published_at
          FROM workflow_templates
         WHERE namespace = $1 AND name = $2 AND version = $3
        "#,
        namespace,
        name,
        version,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}
