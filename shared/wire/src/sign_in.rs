//! Tokens and API keys.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use tasker_core::role::Role;
use tasker_core::task::QueueName;

/// An access token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessToken {
    /// The token, to be sent as `Authorization: Bearer`.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Its lifetime, in seconds.
    pub expires_in: u64,
}

/// A request for an API key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// Its name, which histories show as the actor: letters, digits, `.`, `_` and `-`.
    #[cfg_attr(
        feature = "openapi",
        schema(min_length = 1, max_length = 64, example = "deploy")
    )]
    pub name: String,
    /// `viewer`, `submitter`, `operator` or `admin`.
    #[cfg_attr(feature = "openapi", schema(example = "submitter"))]
    pub role: String,
    /// The queues that it may see and use, by name or alias; all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<String>>,
    /// Its lifetime; without end if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// A created API key.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyCreated {
    /// The key, which is never shown again.
    pub key: String,
    /// Its stored record, without the key.
    #[serde(flatten)]
    pub record: ApiKey,
}

/// The stored record of an API key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct ApiKey {
    pub id: Uuid,
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "submitter"))]
    pub role: Role,
    /// The queues that it may see and use; null for all.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub queues: Option<Vec<QueueName>>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    /// The time of its last use, up to a minute old.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub revoked_by: Option<String>,
}

/// The API keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeys {
    /// One entry per key, those that are not revoked first.
    pub keys: Vec<ApiKey>,
}
