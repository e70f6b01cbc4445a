//! API keys, which programs sign in with. Only the SHA-256 of a key is stored.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Error, Result};
use tasker_core::role::Role;
use tasker_core::task::QueueName;

/// The maximum number of keys that are not revoked: a bound for every list and cache of them.
pub const KEYS_MAX: i64 = 1_000;
/// The maximum number of keys in a list; revoked ones come last.
const LISTED_MAX: i64 = 2_000;

/// A key that is to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Its id, by which it is revoked.
    pub id: Uuid,
    /// Its name, which the history records as the actor.
    pub name: String,
    /// The SHA-256 of the key.
    pub sha256: [u8; 32],
    /// Its role.
    pub role: Role,
    /// The queues that it may see and use; `None` for all.
    pub queues: Option<Vec<QueueName>>,
    /// Its lifetime in seconds; `None` if it does not expire.
    pub holds_seconds: Option<f64>,
    /// The user who created it.
    pub created_by: String,
}

/// A key as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table, explained at `NewApiKey`")]
pub struct ApiKeyRecord {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    pub queues: Option<Vec<QueueName>>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    /// The time of its last sign-in; up to a minute old.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub revoked_by: Option<String>,
}

/// The rights of a valid key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyGrant {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The queues that it may see and use; `None` for all.
    pub queues: Option<Vec<QueueName>>,
}

/// The result of [`create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The key is stored; this is its record.
    Stored(ApiKeyRecord),
    /// Another key that is not revoked has the same name.
    NameTaken,
    /// There are [`KEYS_MAX`] already.
    TooMany,
}

/// Stores a key, unless its name is taken or there are too many.
pub async fn create(db: impl PgExecutor<'_>, key: &NewApiKey) -> Result<Created> {
    // The count takes no lock: requests at the same time may exceed the limit by one each, which is harmless.
    // The name is decided by a unique index, and so cannot be taken twice.
    let stored = sqlx::query_as!(
        ApiKeyRecord,
        r#"
        INSERT INTO api_keys (id, name, key_sha256, role, queues, created_by, expires_at)
        SELECT $1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7)
         WHERE (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL) < $8
        RETURNING id, name, role AS "role: Role", queues AS "queues: Vec<QueueName>", created_at, created_by, expires_at,
                  last_used_at, revoked_at, revoked_by
        "#,
        key.id,
        key.name,
        &key.sha256[..],
        key.role as _,
        key.queues.as_deref() as _,
        key.created_by,
        key.holds_seconds,
        KEYS_MAX,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from);
    match stored {
        Ok(Some(record)) => Ok(Created::Stored(record)),
        Ok(None) => Ok(Created::TooMany),
        // the partial unique index of keys that are not revoked
        Err(error) if error.constraint() == Some("api_keys_name") => Ok(Created::NameTaken),
        Err(error) => Err(error),
    }
}

/// Returns the keys: those that are not revoked first, newest first within each group.
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<ApiKeyRecord>> {
    sqlx::query_as!(
        ApiKeyRecord,
        r#"
        SELECT id, name, role AS "role: Role", queues AS "queues: Vec<QueueName>", created_at, created_by, expires_at,
               last_used_at, revoked_at, revoked_by
          FROM api_keys
         ORDER BY revoked_at IS NOT NULL, id DESC
         LIMIT $1
        "#,
        LISTED_MAX,
    )
    .fetch_all(db)
    .await
    .map_err(Error::from)
}

/// Revokes a key and returns it. A key that is already revoked is returned unchanged; `None` if the key does
/// not exist.
pub async fn revoke(db: impl PgExecutor<'_>, id: Uuid, by: &str) -> Result<Option<ApiKeyRecord>> {
    sqlx::query_as!(
        ApiKeyRecord,
        r#"
        UPDATE api_keys
           SET revoked_at = coalesce(revoked_at, now()), revoked_by = coalesce(revoked_by, $2)
         WHERE id = $1
        RETURNING id, name, role AS "role: Role", queues AS "queues: Vec<QueueName>", created_at, created_by, expires_at,
                  last_used_at, revoked_at, revoked_by
        "#,
        id,
        by,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Returns the rights of the key with this SHA-256; `None` if it does not exist, is revoked or has expired.
pub async fn find(db: impl PgExecutor<'_>, sha256: &[u8; 32]) -> Result<Option<ApiKeyGrant>> {
    sqlx::query_as!(
        ApiKeyGrant,
        r#"
        SELECT id, name, role AS "role: Role", queues AS "queues: Vec<QueueName>"
          FROM api_keys
         WHERE key_sha256 = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        "#,
        &sha256[..],
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Records that keys were used `seconds_ago`. An older time never replaces a newer one.
pub async fn note_use(db: impl PgExecutor<'_>, ids: &[Uuid], seconds_ago: &[f64]) -> Result<u64> {
    sqlx::query!(
        r#"
        WITH used AS (
            SELECT id, max(now() - make_interval(secs => ago)) AS at
              FROM UNNEST($1::uuid[], $2::double precision[]) AS u(id, ago)
             GROUP BY id
        ), locked AS MATERIALIZED (
            SELECT id FROM api_keys WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE api_keys k
           SET last_used_at = u.at
          FROM used u JOIN locked USING (id)
         WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
        "#,
        ids,
        seconds_ago,
    )
    .execute(db)
    .await
    .map(|done| done.rows_affected())
    .map_err(Error::from)
}
