//! Definitions of workflows in their one normalised form.
//!
//! A template in YAML, a body of an HTTP request and the Rust builder all become this form: long field names
//! are replaced by the short ones, defaults are filled in, every edge carries its policy. So equal workflows
//! have equal JSON, and their hash identifies what is drawn, run and stored.

mod environment;
mod retry;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use semver::Version;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
use tasker_core::duration;
use tasker_core::task::{Priority, QueueName};

pub use environment::{Environment, Overrides, RetryOverrides, StepSelector};
pub use retry::{Backoff, Retry};

use crate::edge::EdgePolicy;
use crate::input::Input;
use crate::instance_name::InstanceName;
use crate::json::Json;

/// A valid definition of a workflow. Only the reader makes one, so its names, edges and references are valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Definition {
    /// Its namespace; `default` if left out.
    pub namespace: String,
    /// Its name, unique within its namespace.
    pub name: String,
    /// Its version; 1.0.0 if left out.
    #[serde(serialize_with = "as_text")]
    pub version: Version,
    /// For readers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// An object of the author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// The JSON Schema of the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Json>,
    /// The names of its workflows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<InstanceName>,
    /// The time from the start after which a workflow ends as `error`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_duration")]
    pub deadline: Option<Duration>,
    /// The priority of steps that set none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// The queue of steps that set none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// The reaction to a failure that no edge handles.
    pub on_failure: FailureReaction,
    /// The output of a workflow that completes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Input>,
    /// Changes for an environment, by its name; see [`Definition::for_environment`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environments: BTreeMap<String, Environment>,
    /// Fields of the source format that are kept without an effect: `task_handler`, `system_dependencies`,
    /// `domain_events`.
    #[serde(flatten)]
    pub without_effect: BTreeMap<String, Json>,
    /// The steps, in the order of the author.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Its name, unique within its definition.
    pub name: String,
    /// For readers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The task type that runs it.
    pub run: String,
    /// The parameters of its task; `None` for the context and the results of its parents.
    #[serde(rename = "with", skip_serializing_if = "Option::is_none")]
    pub inputs: Option<BTreeMap<String, Input>>,
    /// The steps before it, in the order of the author.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Edge>,
    /// The policy of edges that leave it without one of their own. That of the edge to the end of the
    /// workflow, if no step is behind it. Never [`EdgePolicy::Only`].
    pub on_failure: EdgePolicy,
    /// Its retries.
    pub retry: Retry,
    /// The timeout of one attempt; `None` for that of the task type.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_duration")]
    pub timeout: Option<Duration>,
    /// Its queue; see [`Definition::queue_of`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// Its priority; see [`Definition::priority_of`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Fields of the source format that are kept without an effect: `system_dependency`, `publishes_events`.
    #[serde(flatten)]
    pub without_effect: BTreeMap<String, Json>,
}

/// An edge into a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The name of the step before.
    pub step: String,
    /// What its failure means for the step behind.
    pub on_failure: EdgePolicy,
}

/// The reaction of a workflow to a step that fails for good through an edge of policy `fail`.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FailureReaction {
    /// It is blocked until an operator decides; other branches go on.
    #[default]
    Block,
    /// It gives up: its other steps are cancelled and it ends as `error`.
    Error,
}

/// The content hash of a definition: SHA-256 of its normalised JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionHash(pub [u8; 32]);

impl Step {
    /// Returns the normalised JSON of what a run needs: without the description and fields without an effect.
    pub fn to_json(&self) -> String {
        let bare = Self {
            description: String::new(),
            without_effect: BTreeMap::new(),
            ..self.clone()
        };
        serde_json::to_string(&bare).unwrap_or_default()
    }
}

impl Definition {
    /// Returns the normalised JSON: fields in a fixed order, keys of objects sorted, no white space, numbers
    /// in the digits of their author. Reading it returns an equal definition.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the content hash. Definitions with the same hash have the same normalised JSON, digits
    /// included.
    pub fn hash(&self) -> DefinitionHash {
        DefinitionHash(Sha256::digest(self.to_json().as_bytes()).into())
    }

    /// Returns its unique key: namespace, name and version.
    pub fn id(&self) -> (&str, &str, &Version) {
        (&self.namespace, &self.name, &self.version)
    }

    /// Returns the index of the step of that name.
    pub fn step_index(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// Returns the priority of a step: its own, or that of the definition, or that of the workflow.
    pub fn priority_of(&self, step: &Step, of_workflow: Option<Priority>) -> Option<Priority> {
        step.priority.or(of_workflow).or(self.priority)
    }

    /// Returns `{namespace}_queue`; `None` if that is too long for the name of a queue.
    pub fn namespace_queue(&self) -> Option<QueueName> {
        QueueName::parse(&format!("{}_queue", self.namespace)).ok()
    }

    /// Returns `{namespace}_queue` if the definition names it as the queue of a step, in any environment.
    /// Publishing the definition declares that queue.
    pub fn declared_queue(&self) -> Option<QueueName> {
        let own = self.namespace_queue()?;
        let steps = self.steps.iter().filter_map(|step| step.queue.as_ref());
        let changed = self.environments.values().flat_map(|environment| {
            let of_steps = environment.steps.iter().filter_map(|step| step.queue.as_ref());
            environment.queue.iter().chain(of_steps)
        });
        let mut named = self.queue.iter().chain(steps).chain(changed);
        named.any(|queue| *queue == own).then_some(own)
    }

    /// Returns the queue of a step: its own, or that of the definition, or `{namespace}_queue` where that is
    /// declared, or that of its priority.
    pub fn queue_of(
        &self,
        step: &Step,
        priority: Priority,
        is_declared: impl Fn(&QueueName) -> bool,
    ) -> QueueName {
        let of_namespace = || self.namespace_queue().filter(|name| is_declared(name));
        let given = step.queue.as_ref().or(self.queue.as_ref()).cloned();
        given
            .or_else(of_namespace)
            .unwrap_or_else(|| QueueName::for_priority(priority))
    }
}

impl FailureReaction {
    /// The names of all reactions.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;
}

impl fmt::Display for DefinitionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn as_text<S: Serializer>(value: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

// serde passes a reference to the field
#[expect(clippy::ref_option)]
fn as_duration<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(duration::format).serialize(serializer)
}
