//! Changes of a definition for one environment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tasker_core::task::{Priority, QueueName};

use super::{Backoff, Definition, Retry, Step};
use crate::input::Input;

/// The changes for one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Replaces the deadline.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::as_duration"
    )]
    pub deadline: Option<Duration>,
    /// Replaces the priority of steps that set none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Replaces the queue of steps that set none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// The changes of steps, applied in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Overrides>,
}

/// The changes of one step or of all steps. A field that is `None` changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overrides {
    /// The steps that it changes.
    #[serde(rename = "name")]
    pub steps: StepSelector,
    /// Inputs that are added to those of the step or replace them, by name.
    #[serde(rename = "with", skip_serializing_if = "Option::is_none")]
    pub inputs: Option<BTreeMap<String, Input>>,
    /// Changes of the retries.
    #[serde(skip_serializing_if = "RetryOverrides::is_empty")]
    pub retry: RetryOverrides,
    /// Replaces the timeout.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::as_duration"
    )]
    pub timeout: Option<Duration>,
    /// Replaces the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// Replaces the priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// The steps that [`Overrides`] change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepSelector {
    /// All steps; written `ALL`. Inputs change only in steps that have some.
    All,
    /// The step of that name.
    Named(String),
}

/// Changes of the retries of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RetryOverrides {
    /// Replaces the maximum number of attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Replaces the growth of the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Replaces the first wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_base_ms: Option<u64>,
    /// Replaces the maximum wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_backoff_ms: Option<u64>,
    /// Replaces whether it is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
}

impl StepSelector {
    /// The name that selects all steps.
    pub const ALL: &'static str = "ALL";

    /// Returns whether it selects a step.
    pub fn selects(&self, step: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(name) => name == step,
        }
    }
}

impl Serialize for StepSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::All => Self::ALL,
            Self::Named(name) => name,
        })
    }
}

impl RetryOverrides {
    /// Returns whether it changes anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the retries with the changes.
    pub fn applied_to(&self, retry: Retry) -> Retry {
        Retry {
            max_attempts: self.max_attempts.unwrap_or(retry.max_attempts),
            backoff: self.backoff.unwrap_or(retry.backoff),
            backoff_base_ms: self.backoff_base_ms.unwrap_or(retry.backoff_base_ms),
            max_backoff_ms: self.max_backoff_ms.unwrap_or(retry.max_backoff_ms),
            retryable: self.retryable.unwrap_or(retry.retryable),
        }
    }
}

impl Definition {
    /// Returns the definition that runs in an environment: with its changes, and without environments. An
    /// unknown environment has no changes.
    #[must_use]
    pub fn for_environment(&self, name: &str) -> Self {
        let mut definition = self.clone();
        let Some(environment) = std::mem::take(&mut definition.environments).remove(name) else {
            return definition;
        };
        definition.deadline = environment.deadline.or(definition.deadline);
        definition.priority = environment.priority.or(definition.priority);
        definition.queue = environment.queue.or(definition.queue);
        for overrides in &environment.steps {
            let steps = definition.steps.iter_mut();
            steps
                .filter(|step| overrides.steps.selects(&step.name))
                .for_each(|step| overrides.apply(step));
        }
        definition
    }
}

impl Overrides {
    fn apply(&self, step: &mut Step) {
        if let (Some(inputs), Some(new)) = (&mut step.inputs, &self.inputs) {
            inputs.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        step.retry = self.retry.applied_to(step.retry);
        step.timeout = self.timeout.or(step.timeout);
        step.priority = self.priority.or(step.priority);
        if self.queue.is_some() {
            step.queue.clone_from(&self.queue);
        }
    }
}
