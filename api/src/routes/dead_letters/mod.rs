//! List, retry and purge dead letters.

mod filter;
pub mod list;
pub mod purge;
pub mod retry;
