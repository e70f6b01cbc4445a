//! Dead letters, many at once.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The dead letters that are meant; a field that is left out does not narrow. A request to act on them needs
/// one of `task_name`, `queue`, `reason` and `before`, or `all`, unless it only counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterFilter {
    /// Only those of this type.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub task_name: Option<String>,
    /// Only those of this queue, by name or alias.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub queue: Option<String>,
    /// Only those that died for this reason: `exhausted`, `failed`, `timeout` or `crash_loop`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub reason: Option<String>,
    /// Only those that died before this time (RFC 3339), which is their `updated_at`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DateTime<Utc>, required = false)]
    pub before: Option<String>,
    /// Act on every dead letter where no other field narrows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// Only count.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What a retry of many dead letters came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersRetried {
    /// Dead letters that matched.
    pub matched: u64,
    /// Those that are pending again.
    pub retried: u64,
    /// Those left as they were: another live task holds their idempotency key, or somebody else was at them.
    pub skipped: u64,
    /// Whether they were only counted.
    pub dry_run: bool,
}

/// What a purge of dead letters came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersPurged {
    /// Dead letters that matched.
    pub matched: u64,
    /// Those that are deleted.
    pub purged: u64,
    /// Those left as they were: somebody else was at them.
    pub skipped: u64,
    /// Whether they were only counted.
    pub dry_run: bool,
}

/// Reads a field that may be left out, and is no null: a client's empty variable must not widen what it asks
/// to purge.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
