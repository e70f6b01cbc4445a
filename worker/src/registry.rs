//! The task types that this worker can run.

use std::collections::BTreeMap;
use std::time::Duration;

use tasker_core::task::limits;
use tasker_store::task_types;

use crate::task_type::AnyTaskType;

/// A task type that cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two handlers for one name.
    #[error("the task type `{0}` is registered twice")]
    Twice(String),
    /// A value out of its range.
    #[error("the task type `{name}`: {fault}")]
    Invalid {
        /// The type's name.
        name: String,
        /// The rule that it breaks.
        fault: &'static str,
    },
    /// No task type was registered.
    #[error("no task type is registered: this worker could run no task")]
    Empty,
}

/// The registered task types by name.
#[derive(Debug)]
pub(crate) struct Registry {
    tasks: BTreeMap<String, AnyTaskType>,
    names: Vec<String>,
}

impl Registry {
    pub(crate) fn new(tasks: Vec<AnyTaskType>) -> Result<Self, RegistryError> {
        let mut known = BTreeMap::new();
        for task in tasks {
            check(&task)?;
            if let Some(twice) = known.insert(task.name.clone(), task) {
                return Err(RegistryError::Twice(twice.name));
            }
        }
        if known.is_empty() {
            return Err(RegistryError::Empty);
        }
        Ok(Self {
            names: known.keys().cloned().collect(),
            tasks: known,
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&AnyTaskType> {
        self.tasks.get(name)
    }

    /// Returns all names, sorted.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns all types in the form in which they are published to the server.
    pub(crate) fn published(&self) -> Vec<task_types::TaskType> {
        self.tasks.values().map(AnyTaskType::published).collect()
    }
}

fn check(task: &AnyTaskType) -> Result<(), RegistryError> {
    let max_retries = limits::MAX_RETRIES.unsigned_abs();
    let fault = if task.name.is_empty() || task.name.chars().count() > limits::TASK_NAME_CHARS {
        "its name must have 1 to 255 characters"
    } else if task.name.contains('\0') {
        "its name must not contain NUL"
    } else if !(-100..=100).contains(&task.priority) {
        "its priority must lie between -100 and 100"
    } else if task.max_retries > max_retries {
        "its retries must lie between 0 and 100"
    } else if task.timeout == Duration::ZERO || task.timeout > limits::TIMEOUT {
        "its timeout must be more than 0 and at most 7 days"
    } else {
        return Ok(());
    };
    Err(RegistryError::Invalid {
        name: task.name.clone(),
        fault,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, TaskError, TaskType};

    async fn nothing(_: Context, (): ()) -> Result<(), TaskError> {
        Ok(())
    }

    #[test]
    fn registering_a_name_twice_is_an_error() {
        let error = Registry::new(vec![
            TaskType::new("a", nothing).into(),
            TaskType::new("a", nothing).into(),
        ])
        .expect_err("twice");
        assert_eq!(error, RegistryError::Twice("a".into()));
    }

    #[test]
    fn a_worker_without_task_types_is_an_error_that_says_so() {
        let error = Registry::new(Vec::new()).expect_err("no types");
        assert!(
            error.to_string().contains("no task type is registered"),
            "{error}"
        );
    }

    #[test]
    fn a_type_with_101_retries_or_no_timeout_or_no_name_is_refused() {
        for task in [
            TaskType::new("a", nothing).max_retries(101),
            TaskType::new("a", nothing).timeout(Duration::ZERO),
            TaskType::new("a", nothing).priority(101),
            TaskType::new("", nothing),
        ] {
            assert!(matches!(
                Registry::new(vec![task.into()]),
                Err(RegistryError::Invalid { .. })
            ));
        }
    }
}
