//! The template of a workflow: its steps, what runs them, and what each waits for.

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::checks::{self, TemplateError};

/// A template as people write it, in YAML or JSON, with everything that was left out filled in.
///
/// A field that is not listed here is refused: a misspelt `dependencies` would otherwise run a step too
/// early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What it is called, within its namespace.
    pub name: String,
    /// Whose it is; `default` unless said.
    #[serde(default = "default_namespace", alias = "namespace_name")]
    pub namespace: String,
    /// Its version by the rules of <https://semver.org>; 1.0.0 unless said.
    #[serde(default = "first_version")]
    pub version: Version,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whatever its author wants to keep with it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The JSON Schema of what a workflow is started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Map<String, Value>>,
    /// The steps, in any order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it is called, within its template.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What runs it.
    pub handler: Handler,
    /// The steps that must have succeeded before it begins.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// How often it is tried.
    #[serde(default)]
    pub retry: Retry,
    /// Limit of one attempt; that of its task type if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
}

/// What runs a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handler {
    /// The task type.
    pub callable: String,
    /// What it is given besides the input of the workflow and the results of the steps before it.
    #[serde(default)]
    pub initialization: Map<String, Value>,
}

/// How often a step is tried, and how long it waits in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Whether it is tried again at all.
    pub retryable: bool,
    /// How many tries it has, the first one included.
    pub max_attempts: u32,
    /// How the wait grows from try to try.
    pub backoff: Backoff,
    /// The first wait, in milliseconds.
    pub backoff_base_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_backoff_ms: u64,
}

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// No wait.
    None,
    /// By the base each time.
    Linear,
    /// Twice as long each time.
    Exponential,
    /// As the Fibonacci numbers do.
    Fibonacci,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            retryable: true,
            max_attempts: 3,
            backoff: Backoff::Exponential,
            backoff_base_ms: 1_000,
            max_backoff_ms: 30_000,
        }
    }
}

impl Template {
    /// Reads a template in JSON or YAML. A text that is neither, or has another form, is refused with its
    /// first fault; all else that is wrong with a template is told at once.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > checks::BYTES_MAX {
            return Err(TemplateError::TooLong(text.len()));
        }
        // nearly all JSON is YAML too, but not all of it: keys, for one, may be longer
        let template = match serde_json::from_str(text) {
            Ok(template) => template,
            Err(_) => from_yaml(text)?,
        };
        match checks::problems(&template) {
            problems if problems.is_empty() => Ok(template),
            problems => Err(TemplateError::Invalid(problems)),
        }
    }

    /// The template as JSON, with its defaults.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What tells it from all others.
    pub fn id(&self) -> (&str, &str, &Version) {
        (&self.namespace, &self.name, &self.version)
    }
}

/// Reads YAML as version 1.2 has it: `NO` is a country and `01234` a place, not `false` and a number.
fn from_yaml(text: &str) -> Result<Template, TemplateError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| TemplateError::Unreadable(error.without_snippet().to_string()))
}

fn default_namespace() -> String {
    "default".to_owned()
}

const fn first_version() -> Version {
    Version::new(1, 0, 0)
}
