//! Workflows, the pure part: what a definition is, whether it is valid, what a workflow of it does. No I/O,
//! no clock.
//!
//! - [`from_yaml`], [`from_json`]: read and validate a [`Definition`]; all errors at once, as [`Issue`]s.
//! - [`resolve`]: the parameters of a step from the context and the results of other steps.
//! - [`plan`]: the rows that the start of a workflow inserts.
//! - [`states`]: states and transitions of workflows and steps, and the figures derived from them.
//! - [`simulate`]: the rules by which steps advance, as a simulation that tests compare the system with.
//! - [`draw`]: a definition as text and as a Mermaid flowchart.

mod definition;
pub mod draw;
mod edge;
mod graph;
mod input;
mod instance_name;
mod issue;
mod json;
pub mod limits;
mod lookup;
mod nearest;
pub mod plan;
#[cfg(test)]
mod random;
mod read;
mod reference;
pub mod resolve;
pub mod simulate;
mod source;
pub mod states;

pub use definition::{
    Backoff, Definition, DefinitionHash, Edge, Environment, FailureReaction, Overrides, Retry,
    RetryOverrides, Step, StepSelector,
};
pub use edge::{EdgePolicy, Effect, StepEnd};
pub use input::Input;
pub use instance_name::InstanceName;
pub use issue::{InvalidDefinition, Issue, IssueCode};
pub use json::Json;
pub use read::{
    Checked, ReadOptions, SchemaCheck, SchemaError, from_json, from_stored, from_text, from_yaml, is_json,
    step_from_stored, value_from_text,
};
pub use reference::{Part, Reference, Root};
