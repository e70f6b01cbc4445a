//! The example workflow that a stock worker publishes outside of production.

use tasker_config::{Environment, WorkerConfig};
use tasker_workflow::{Definition, ReadOptions, from_yaml};

/// The template, as a user would write it.
const LINEAR: &str = include_str!("../templates/linear_workflow.yaml");

/// Adds the example to the templates that the worker publishes, unless it runs in production, does not run
/// the example's task type, or brings a template of that name itself.
pub(crate) fn add(config: &mut WorkerConfig) {
    let Some(example) = example().filter(|example| is_wanted(config, example)) else {
        return;
    };
    config.templates.get_or_insert_default().push(example);
}

fn is_wanted(config: &WorkerConfig, example: &Definition) -> bool {
    let all = example
        .steps
        .iter()
        .all(|step| config.builtin_tasks.includes(&step.run));
    let mut own = config.templates.iter().flatten();
    all && config.environment != Environment::Production && !own.any(|own| own.id() == example.id())
}

fn example() -> Option<Definition> {
    let read = from_yaml(LINEAR, ReadOptions::default());
    read.ok().map(|checked| checked.definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_valid_and_has_four_steps() {
        let example = example().expect("valid");
        assert_eq!(example.steps.len(), 4);
        assert_eq!(
            (example.namespace.as_str(), example.name.as_str()),
            ("example", "linear_workflow")
        );
    }
}
