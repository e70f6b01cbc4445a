//! Workflow templates.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The published templates.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Templates {
    /// One entry for each version, by namespace and name, the newest version first.
    pub templates: Vec<TemplateSummary>,
}

/// A template in the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TemplateSummary {
    /// Whose it is.
    pub namespace: String,
    /// Its name, within its namespace.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For people.
    pub description: String,
    /// How many steps it has.
    pub steps: i32,
    /// When this version last changed.
    pub published_at: DateTime<Utc>,
}

/// One version of a template.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TemplateRecord {
    /// Whose it is.
    pub namespace: String,
    /// Its name, within its namespace.
    pub name: String,
    /// Its version.
    pub version: String,
    /// All its versions, the newest first.
    pub versions: Vec<String>,
    /// When this version last changed.
    pub published_at: DateTime<Utc>,
    /// The template, with everything that its author left out filled in.
    #[schema(value_type = Object)]
    pub template: Box<RawValue>,
}
