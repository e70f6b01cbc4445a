//! Bulk operations on dead letters.

use serde::{Deserialize, Deserializer, Serialize};

/// A filter of dead letters; a field that is left out matches all of them. A request needs one of
/// `task_name`, `queue`, `reason` and `before`, or `all`, unless it is a `dry_run`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeadLetterFilter {
    /// Only those of this type.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub task_name: Option<String>,
    /// Only those of this queue, by name or alias.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub queue: Option<String>,
    /// Only those with this reason: `exhausted`, `failed`, `timeout` or `crash_loop`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub reason: Option<String>,
    /// Only those with an `updated_at` before this time (RFC 3339), at which they became dead letters.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = DateTime<Utc>, required = false))]
    pub before: Option<String>,
    /// Required to act on all dead letters, without another field.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// Only count the matching dead letters.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// The result of a bulk retry of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLettersRetried {
    /// Number of dead letters that matched.
    pub matched: u64,
    /// Number that are pending again.
    pub retried: u64,
    /// Number left unchanged: another live task holds their idempotency key, or another request changed them.
    pub skipped: u64,
    /// True if they were only counted.
    pub dry_run: bool,
}

/// The result of a purge of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLettersPurged {
    /// Number of dead letters that matched.
    pub matched: u64,
    /// Number that were deleted.
    pub purged: u64,
    /// Number left unchanged, since another request changed them.
    pub skipped: u64,
    /// True if they were only counted.
    pub dry_run: bool,
}

/// Reads a field that may be left out but not null: an empty variable of a client must not widen a purge.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
