//! Workflow templates: the steps of a workflow, their handlers and their dependencies.

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A workflow template, written in YAML or JSON, with its defaults filled in.
///
/// Unknown fields are rejected: a misspelt `dependencies` would otherwise run a step too early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name, unique within its namespace.
    pub name: String,
    /// Its namespace; `default` if left out.
    #[serde(default = "default_namespace", alias = "namespace_name")]
    pub namespace: String,
    /// Its version by the rules of <https://semver.org>; 1.0.0 if left out.
    #[serde(default = "first_version")]
    pub version: Version,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Arbitrary data of its author.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The JSON Schema of the input of its workflows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Map<String, Value>>,
    /// The steps, in any order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, unique within its template.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Its handler.
    pub handler: Handler,
    /// The names of the steps that must succeed before it starts.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// Its retry settings.
    #[serde(default)]
    pub retry: Retry,
    /// Timeout of one attempt; `None` means that of its task type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
}

/// The handler of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handler {
    /// The task type.
    pub callable: String,
    /// Parameters that it gets besides the input of the workflow and the results of the steps before it.
    #[serde(default)]
    pub initialization: Map<String, Value>,
}

/// The retry settings of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// False if it is never retried.
    pub retryable: bool,
    /// Maximum number of attempts, the first one included.
    pub max_attempts: u32,
    /// The growth of the wait between attempts.
    pub backoff: Backoff,
    /// The first wait, in milliseconds.
    pub backoff_base_ms: u64,
    /// The maximum wait, in milliseconds.
    pub max_backoff_ms: u64,
}

/// The growth of the wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// No wait.
    None,
    /// Grows by the base each time.
    Linear,
    /// Doubles each time.
    Exponential,
    /// Grows like the Fibonacci numbers.
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
    /// Returns the template as JSON, with its defaults.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns its unique key: namespace, name and version.
    pub fn id(&self) -> (&str, &str, &Version) {
        (&self.namespace, &self.name, &self.version)
    }
}

fn default_namespace() -> String {
    "default".to_owned()
}

const fn first_version() -> Version {
    Version::new(1, 0, 0)
}
