//! The maintenance of the system: the duties of the server, scaling advice, and the bulk operations on dead
//! letters.
//!
//! Each duty implements [`Duty`], and one loop runs them all; [`start()`] has the list. Every duty is safe to
//! run on two servers at once. Every server promotes due tasks and creates partitions: both are cheap and
//! must not wait for an election. All other duties run on the leader only.

mod age;
mod cleanup;
pub mod dead_letters;
mod duty;
mod duty_status;
mod expiry;
mod failure_detector;
mod fill;
mod fleet_changes;
mod gauges;
mod hints;
mod leader;
mod leader_gauges;
mod partitions;
mod promote;
mod queue_sources;
mod rebuild;
mod reconcile;
mod recover;
mod retention;
mod router;
mod sampler;
pub mod scaling;
mod start;
mod step_follow;
mod step_indexes;
mod sweep;
mod totals;
mod workflows;

pub use age::Ager;
pub use cleanup::{Cleaned, Cleaner};
pub use duty::Duty;
pub use duty_status::{DutyError, DutyRecorder, DutyRuns, DutyStatus};
pub use expiry::DeadLetterExpirer;
pub use gauges::GaugeKeeper;
pub use hints::HintSender;
pub use leader::Leadership;
pub use partitions::PartitionKeeper;
pub use promote::Promoter;
pub use queue_sources::QueueSources;
pub use rebuild::Rebuilder;
pub use reconcile::Reconciler;
pub use recover::{Recovered, Recoverer};
pub use retention::PartitionDropper;
pub use router::Router;
pub use sampler::Sampler;
pub use start::{Handles, Settings, start};
pub use step_indexes::StepIndexer;
pub use totals::TotalsFolder;
pub use workflows::{Kept, WorkflowKeeper};
