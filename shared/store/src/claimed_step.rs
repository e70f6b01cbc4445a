//! What a claim says of a step.

use serde::Deserialize;
use serde_json::value::RawValue;

use tasker_core::task::TaskId;

/// The step of a workflow that a claimed task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedStep {
    /// Its workflow.
    pub workflow: TaskId,
    /// Its name in the workflow.
    pub name: String,
    /// Its place among the items of a map.
    pub item: Option<i32>,
    /// JSON text: how its inputs are made and how it is retried, if not by default.
    pub options: Option<String>,
}

impl ClaimedStep {
    /// Reads the array that a claim returns: workflow, name, item, options.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Row<'a>(TaskId, String, Option<i32>, #[serde(borrow)] Option<&'a RawValue>);
        let Row(workflow, name, item, options) = serde_json::from_str(text).ok()?;
        Some(Self {
            workflow,
            name,
            item,
            options: options.map(|options| options.get().to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_with_its_options_as_they_were_stored() {
        let id = TaskId::generate();
        let step =
            ClaimedStep::parse(&format!(r#"["{id}", "pay", null, {{"needs": ["check"]}}]"#)).expect("a step");
        assert_eq!((step.workflow, step.name.as_str(), step.item), (id, "pay", None));
        assert_eq!(step.options.as_deref(), Some(r#"{"needs": ["check"]}"#));
        let bare = ClaimedStep::parse(&format!(r#"["{id}", "check", 3, null]"#)).expect("a step");
        assert_eq!((bare.item, bare.options), (Some(3), None));
    }
}
