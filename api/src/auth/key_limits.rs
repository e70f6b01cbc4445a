//! The limits of the API keys that a request may create.

/// The maximum length of a name.
pub const NAME_CHARS_MAX: usize = 64;
/// The maximum number of queues that a key is restricted to.
pub const QUEUES_MAX: usize = 100;
/// The maximum lifetime of a key that expires: ten years.
pub const LIFETIME_SECONDS_MAX: i64 = 10 * 365 * 24 * 3600;
