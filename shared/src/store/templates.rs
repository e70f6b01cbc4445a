//! The published templates of workflows.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::Result;
use crate::workflow::Template;

/// A template in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Whose it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For people.
    pub description: String,
    /// How many steps it has.
    pub steps: i32,
    /// When it last changed.
    pub published_at: DateTime<Utc>,
}

/// A template as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// JSON text of the template.
    pub template: String,
    /// When it last changed.
    pub published_at: DateTime<Utc>,
}

/// Publishes templates. The newest publication of a version holds; one that says the same changes nothing.
pub async fn publish(db: impl PgExecutor<'_>, templates: &[Template]) -> Result<()> {
    let namespaces: Vec<&str> = templates.iter().map(|t| t.namespace.as_str()).collect();
    let names: Vec<&str> = templates.iter().map(|t| t.name.as_str()).collect();
    let versions: Vec<String> = templates.iter().map(|t| t.version.to_string()).collect();
    let texts: Vec<String> = templates.iter().map(Template::to_json).collect();
    sqlx::query!(
        r#"
        INSERT INTO workflow_templates AS known (namespace, name, version, template)
        SELECT namespace, name, version, template::json
          FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[]) AS t(namespace, name, version, template)
         ORDER BY namespace, name, version
            ON CONFLICT (namespace, name, version) DO UPDATE
           SET template = excluded.template, published_at = now()
         WHERE known.template::text <> excluded.template::text
        "#,
        namespaces as _,
        names as _,
        &versions,
        &texts,
    )
    .execute(db)
    .await
    .map(drop)
}

/// All templates with all their versions, by namespace and name.
pub async fn all(db: impl PgExecutor<'_>) -> Result<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        r#"
        SELECT namespace, name, version, template ->> 'description' AS "description!",
               json_array_length(template -> 'steps') AS "steps!", published_at
          FROM workflow_templates
         ORDER BY namespace, name, version
        "#,
    )
    .fetch_all(db)
    .await
}

/// The versions of a template.
pub async fn versions(db: impl PgExecutor<'_>, namespace: &str, name: &str) -> Result<Vec<String>> {
    sqlx::query_scalar!(
        "SELECT version FROM workflow_templates WHERE namespace = $1 AND name = $2",
        namespace,
        name,
    )
    .fetch_all(db)
    .await
}

/// One version of a template.
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
}
