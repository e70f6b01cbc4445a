//! Routing by task type as a model of its own: plain and split queues, and parked hints.

mod actions;
mod config;
mod faults;
mod leaders;
mod search;
mod settled;
mod state;
mod step;
mod workers;

pub use actions::Action;
pub use config::{A, B, Config, Fault, Fleet, Safeguards, Start};
pub use search::{Counterexample, Outcome, reaches, search};
pub use settled::Wrong;
pub use state::*;
