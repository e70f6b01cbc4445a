//! A cache of connections for the hot paths. The pool pings each connection that is returned to it, which
//! costs round trips; a cached one is pinged only after it was idle.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::histogram;
use sqlx::{PgConnection, PgPool};

use super::connect::{PING_BEFORE_USE, TRUSTED_IDLE, ping};
use super::{PooledConnection, Result};

/// The cache may hold one connection in this many of the pool; the rest stays available to other users of the
/// pool.
const SHARE: u32 = 4;
/// Maximum time in the cache; then a connection returns to the pool, which closes it at its maximum lifetime.
const KEPT_MAX: Duration = Duration::from_mins(5);

/// Connections of a pool, cached for statements that follow each other closely.
#[derive(Debug)]
pub struct ConnectionCache {
    db: PgPool,
    max: usize,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: CachedConnection,
    since: Instant,
}

/// A connection taken from a [`ConnectionCache`]. Release it if no statement is in progress; if dropped, it
/// returns to the pool, which pings it.
#[derive(Debug)]
pub struct CachedConnection {
    connection: PooledConnection,
    taken: Instant,
}

impl ConnectionCache {
    /// Caches up to a quarter of the connections of `db`.
    pub fn new(db: PgPool) -> Self {
        let max = (db.options().get_max_connections() / SHARE) as usize;
        Self {
            db,
            max,
            idle: Mutex::default(),
        }
    }

    /// Returns the connection that was used last, or one from the pool.
    pub async fn take(&self) -> Result<CachedConnection> {
        if let Some(Idle {
            mut connection,
            since,
        }) = self.wake()
        {
            if since.elapsed() <= TRUSTED_IDLE || ping(&mut connection, PING_BEFORE_USE).await.is_ok() {
                return Ok(connection);
            }
            // the other connections were idle for longer, so they may be dead too; the pool pings each as it
            // returns
            connection.discard();
            self.idle().clear();
        }
        let began = Instant::now();
        let connection = self.db.acquire().await?;
        histogram!("tasker_db_acquire_seconds").record(began.elapsed());
        let taken = Instant::now();
        Ok(CachedConnection { connection, taken })
    }

    /// Caches a connection that has no open transaction for the next [`take`](Self::take).
    pub fn release(&self, connection: CachedConnection) {
        let mut idle = self.idle();
        // a stack: connections at the bottom were last used when more were needed at once
        let is_expired = |connection: &CachedConnection| connection.taken.elapsed() > KEPT_MAX;
        idle.retain(|idle| !is_expired(&idle.connection));
        if idle.len() < self.max && !is_expired(&connection) {
            let since = Instant::now();
            idle.push(Idle { connection, since });
        }
    }

    fn wake(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedConnection {
    /// Closes it at once, without waiting for a pending answer.
    pub fn discard(self) {
        drop(self.connection.detach());
    }
}

impl Deref for CachedConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for CachedConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
