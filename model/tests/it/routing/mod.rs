//! Routing by task type: searches of plain and split queues, and of parked hints.

mod counterexamples;
mod properties;

use tasker_model::routing::{A, B, Config, Fault, Fleet, Start};

/// A task type that no worker of these searches registers.
const C: u8 = 4;

/// The ordinary changes of a fleet, which must not lose a hint.
const CHANGES: [Fault; 2] = [Fault::Start, Fault::Stop];

/// Returns a worker that runs from the start.
fn up(types: u8) -> Fleet {
    Fleet {
        types,
        up: true,
        slots: 3,
    }
}

/// Returns a worker that may start.
fn late(types: u8) -> Fleet {
    Fleet {
        up: false,
        ..up(types)
    }
}

/// Returns a worker with one slot.
fn full_after_one(types: u8) -> Fleet {
    Fleet {
        slots: 1,
        ..up(types)
    }
}

/// Returns a search with one task of each of two types and a worker for each.
fn mixed(start: Start) -> Config {
    Config::new(&[A, B], &[up(A), up(B)]).start(start)
}

/// Returns a search in which the worker of the second type may start.
fn growing(start: Start) -> Config {
    Config::new(&[A, B], &[up(A), late(B)]).start(start)
}
