//! The subcommands of `tasker`, one file for each noun.

pub(crate) mod bench;
pub(crate) mod dlq;
pub(crate) mod key;
pub(crate) mod new;
pub(crate) mod queue;
pub(crate) mod task;
pub(crate) mod template;
mod totals;
pub(crate) mod worker;
