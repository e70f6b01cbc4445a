//! Redis, a hint where work waits: lists of task ids, and the word that a running task was cancelled.
//!
//! Nothing here is the truth. A hint that is lost, repeated or out of order can delay a task and never lose it, so every
//! failure here is logged and survived. No other module knows a key or a command.

mod age;
mod connection;
mod events;
pub mod keys;
mod lists;
mod pop;
mod rebuild;
mod server_check;

pub use connection::Queue;
pub use events::Cancellations;
pub use keys::Keys;
pub use lists::Hint;
pub use pop::{BLOCK_MAX, Popped, Popper, Unblocker};
pub use rebuild::NewList;
pub use server_check::{ServerCheck, ServerReport};

/// A command failed, or Redis did not answer in time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be had.
    #[error("cannot connect to Redis")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A command was refused or not answered.
    #[error("Redis did not carry out a command")]
    Command(#[from] deadpool_redis::redis::RedisError),
}

/// What every function here returns.
pub type Result<T> = std::result::Result<T, Error>;
