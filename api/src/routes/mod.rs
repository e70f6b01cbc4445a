//! The route handlers: a room per subject, one file per action.

pub mod dead_letters;
pub mod health;
pub mod keys;
pub mod problem;
pub mod queues;
pub mod tasks;
pub mod templates;
pub mod token;
pub mod workers;
pub mod workflows;

mod params;
mod view;
