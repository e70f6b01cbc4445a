//! Redis: lists of task ids as wake-up hints, and cancellation notices.
//!
//! Redis is not the source of truth: a hint that is lost, repeated or out of order can delay a task but not
//! lose it, so every failure here is logged and survived. Key names and commands are used in this module
//! only.
//!
//! A queue is *plain* while each of its live workers registers the same task types: its ids are in one list,
//! which is popped and whose length is the depth. Otherwise it is *split*: each id is also in the list of its
//! task type, and workers pop the lists of the types that they register, so that none receives a task that it
//! cannot run. Ids of types that no live worker registers are *parked* in a list of their own.

mod age;
mod connection;
mod dispatch_mode;
mod events;
pub mod key_names;
mod lists;
mod pop;
mod pop_order;
mod pusher;
mod rebuild;
mod redis_config;
mod routing;
mod scripts;
mod server_check;
mod sweep;

pub use connection::RedisQueues;
pub use dispatch_mode::DispatchMode;
pub use events::Cancellations;
pub use key_names::KeyNames;
pub use pop::{BLOCK_MAX, Popped, Popper, Unblocker};
pub use pusher::{HintPusher, ListEnd, PushOutcome, PushTarget};
pub use rebuild::{Adopted, Rebuild};
pub use redis_config::RedisConfig;
pub use routing::{Generation, Routing, Split};
pub use server_check::{ServerCheck, ServerReport};
pub use sweep::{List, Page};
pub use tasker_core::task::Hint;

/// Parses an entry of a list. One that was pushed to the head of a type list begins with `!`.
fn read_id(entry: &str) -> Option<tasker_core::task::TaskId> {
    entry.strip_prefix('!').unwrap_or(entry).parse().ok()
}

/// A command failed, or Redis did not answer in time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be opened.
    #[error("cannot connect to Redis")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A command was rejected or not answered.
    #[error("Redis command failed")]
    Command(#[from] redis::RedisError),
}

/// The result of every function here.
pub type Result<T> = std::result::Result<T, Error>;
