//! The commands, one file per noun.

pub(crate) mod bench;
pub(crate) mod dlq;
pub(crate) mod key;
pub(crate) mod new;
pub(crate) mod queue;
pub(crate) mod task;
pub(crate) mod template;
mod totals;
pub(crate) mod worker;
