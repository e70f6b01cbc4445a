//! Workflow templates.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The published templates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Templates {
    /// One entry per version, by namespace and name, the newest version first.
    pub templates: Vec<TemplateSummary>,
}

/// A template in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateSummary {
    /// Its namespace.
    pub namespace: String,
    /// Its name, within its namespace.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For people.
    pub description: String,
    /// Number of its steps.
    pub steps: i32,
    /// The time of the last change of this version.
    pub published_at: DateTime<Utc>,
}

/// The answer to a publication or a validation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplatePublished {
    /// Its namespace.
    pub namespace: String,
    /// Its name, within its namespace.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its normalised form, as hexadecimal digits.
    pub hash: String,
    /// Number of its steps.
    pub steps: usize,
    /// What its author should know: fields without an effect, task types that no worker registers.
    pub warnings: Vec<TemplateWarning>,
}

/// A warning about a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateWarning {
    /// A JSON pointer into the template.
    pub pointer: String,
    /// The warning.
    pub detail: String,
    /// The line in the text, counted from 1.
    pub line: Option<u32>,
}

/// One version of a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateRecord {
    /// Its namespace.
    pub namespace: String,
    /// Its name, within its namespace.
    pub name: String,
    /// Its version.
    pub version: String,
    /// All its versions, the newest first.
    pub versions: Vec<String>,
    /// The time of the last change of this version.
    pub published_at: DateTime<Utc>,
    /// The template, with its defaults filled in.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub template: Box<RawValue>,
}
