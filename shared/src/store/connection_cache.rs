//! Connections that a hot path keeps between its statements. The pool asks each connection that comes back whether it is sound,
//! which costs two round trips; these are asked only after a rest.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::histogram;
use sqlx::{Connection, PgConnection, PgPool};

use super::connect::{PING_BEFORE_USE, TRUSTED_IDLE};
use super::{PooledConnection, Result, bounded};

/// The part of a pool that may be kept: the rest stays for everybody else.
const SHARE: u32 = 4;
/// After this long a connection goes back to the pool, which closes those that have become old.
const KEPT_MAX: Duration = Duration::from_mins(5);

/// Connections of a pool, kept for statements that follow each other closely.
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

/// A connection out of [`Kept`]. Give it back if it is sound; dropped, it goes to the pool, which finds out.
#[derive(Debug)]
pub struct CachedConnection {
    connection: PooledConnection,
    taken: Instant,
}

impl ConnectionCache {
    /// Keeps up to a quarter of the connections of `db`.
    pub fn new(db: PgPool) -> Self {
        let max = (db.options().get_max_connections() / SHARE) as usize;
        Self {
            db,
            max,
            idle: Mutex::default(),
        }
    }

    /// A connection: the one that was used last, or one from the pool.
    pub async fn take(&self) -> Result<CachedConnection> {
        if let Some(Idle {
            mut connection,
            since,
        }) = self.wake()
        {
            if since.elapsed() <= TRUSTED_IDLE || bounded(PING_BEFORE_USE, connection.ping()).await.is_ok() {
                return Ok(connection);
            }
            // the others rested longer, and the pool knows better who is there
            connection.discard();
            self.idle().clear();
        }
        let began = Instant::now();
        let connection = self.db.acquire().await?;
        histogram!("tasker_db_acquire_seconds").record(began.elapsed());
        let taken = Instant::now();
        Ok(CachedConnection { connection, taken })
    }

    /// Keeps a connection on which nothing is open for the next who takes one.
    pub fn release(&self, connection: CachedConnection) {
        let mut idle = self.idle();
        // those at the bottom are left over from busier times
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
    /// Closes it at once, whatever it is about to answer.
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
