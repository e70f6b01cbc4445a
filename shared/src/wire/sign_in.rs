//! Tokens and API keys.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::role::Role;
use crate::task::QueueName;

/// A token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AccessToken {
    /// What is sent as `Authorization: Bearer`.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// How long it holds, in seconds.
    pub expires_in: u64,
}

/// An API key that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// Its name, by which the history tells of it: letters, digits, `.`, `_` and `-`.
    #[schema(min_length = 1, max_length = 64, example = "deploy")]
    pub name: String,
    /// `viewer`, `submitter`, `operator` or `admin`.
    #[schema(example = "submitter")]
    pub role: String,
    /// The queues that it may see and use, by name or alias; every one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<String>>,
    /// How long it holds; for ever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// An API key that was just made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyCreated {
    /// The key, shown this once.
    pub key: String,
    /// What is stored of it.
    #[serde(flatten)]
    pub record: ApiKey,
}

/// What is stored of an API key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct ApiKey {
    pub id: Uuid,
    pub name: String,
    #[schema(value_type = String, example = "submitter")]
    pub role: Role,
    /// The queues that it may see and use; null for every one.
    #[schema(value_type = Option<Vec<String>>)]
    pub queues: Option<Vec<QueueName>>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    /// When it last signed somebody in; up to a minute old.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub revoked_by: Option<String>,
}

/// The API keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKeys {
    /// One entry a key, those that are not revoked first.
    pub keys: Vec<ApiKey>,
}
