//! The leader's lease: one row, changed by compare-and-swap. Its term increases with every change of holder.

use sqlx::PgExecutor;

use super::{Error, Result};

/// Takes the lease for `seconds` if it has expired, and returns the new term; `None` if it is held.
pub async fn campaign(db: impl PgExecutor<'_>, holder: &str, seconds: f64) -> Result<Option<i64>> {
    sqlx::query_scalar!(
        "UPDATE leader_lease
            SET holder = $1, term = term + 1, protocol_term = term + 1, expires_at = now() + make_interval(secs => $2)
          WHERE expires_at <= now()
         RETURNING term",
        holder,
        seconds,
    )
    .fetch_optional(db)
    .await
    .map_err(Error::from)
}

/// Takes the lease for `seconds` even if another server holds it, and returns the new term, which ends the
/// holder's.
pub async fn seize(db: impl PgExecutor<'_>, holder: &str, seconds: f64) -> Result<i64> {
    sqlx::query_scalar!(
        "UPDATE leader_lease
            SET holder = $1, term = term + 1, protocol_term = term + 1, expires_at = now() + make_interval(secs => $2)
         RETURNING term",
        holder,
        seconds,
    )
    .fetch_one(db)
    .await
    .map_err(Error::from)
}

/// Extends the lease of `term` to `seconds` from now. Returns false if it has expired or belongs to another
/// server.
pub async fn renew(db: impl PgExecutor<'_>, holder: &str, term: i64, seconds: f64) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE leader_lease
            SET expires_at = now() + make_interval(secs => $3)
          WHERE holder = $1 AND term = $2 AND expires_at > now()",
        holder,
        term,
        seconds,
    )
    .execute(db)
    .await?;
    // an expired lease is not renewed even if it is still free: its holder has stopped its duties by then,
    // and campaigns again
    Ok(done.rows_affected() == 1)
}

/// Releases the lease of `term`, so that another server can take it at once.
pub async fn resign(db: impl PgExecutor<'_>, holder: &str, term: i64) -> Result<()> {
    sqlx::query!(
        "UPDATE leader_lease SET holder = NULL, expires_at = '-infinity' WHERE holder = $1 AND term = $2",
        holder,
        term,
    )
    .execute(db)
    .await
    .map(drop)
    .map_err(Error::from)
}
