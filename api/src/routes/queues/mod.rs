//! List, declare, pause, resume and scale queues.

pub mod create;
pub mod list;
pub mod pause;
pub mod resume;
pub mod scaling;
mod states;
