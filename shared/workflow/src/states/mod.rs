//! The states of workflows and of steps, and the figures that are derived from them.

mod derived;
mod step;
mod workflow;

pub use derived::{
    ExecutionStatus, HealthStatus, RecommendedAction, StepCounts, completion_percentage, execution_status,
    health_status, recommended_action, shown_state,
};
pub use step::{IllegalStepTransition, StepEvent, StepStatus};
pub use workflow::{IllegalWorkflowTransition, WorkflowEvent, WorkflowState};
