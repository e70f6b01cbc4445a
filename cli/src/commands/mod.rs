//! The subcommands of `tasker`, one file for each noun.

pub(crate) mod bench;
mod definition_file;
pub(crate) mod dlq;
pub(crate) mod key;
pub(crate) mod new;
pub(crate) mod queue;
pub(crate) mod task;
pub(crate) mod template;
mod template_check;
mod totals;
mod values;
pub(crate) mod worker;
pub(crate) mod workflow;
