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
pub struct Kept {
    db: PgPool,
    max: usize,
    resting: Mutex<Vec<Resting>>,
}

#[derive(Debug)]
struct Resting {
    connection: KeptConnection,
    since: Instant,
}

/// A connection out of [`Kept`]. Give it back if it is sound; dropped, it goes to the pool, which finds out.
#[derive(Debug)]
pub struct KeptConnection {
    connection: PooledConnection,
    taken: Instant,
}

impl Kept {
    /// Keeps up to a quarter of the connections of `db`.
    pub fn new(db: PgPool) -> Self {
        let max = (db.options().get_max_connections() / SHARE) as usize;
        Self {
            db,
            max,
            resting: Mutex::default(),
        }
    }

    /// A connection: the one that was used last, or one from the pool.
    pub async fn take(&self) -> Result<KeptConnection> {
        if let Some(Resting {
            mut connection,
            since,
        }) = self.wake()
        {
            if since.elapsed() <= TRUSTED_IDLE || bounded(PING_BEFORE_USE, connection.ping()).await.is_ok() {
                return Ok(connection);
            }
            // the others rested longer, and the pool knows better who is there
            connection.discard();
            self.resting().clear();
        }
        let began = Instant::now();
        let connection = self.db.acquire().await?;
        histogram!("tasker_db_acquire_seconds").record(began.elapsed());
        let taken = Instant::now();
        Ok(KeptConnection { connection, taken })
    }

    /// Keeps a connection on which nothing is open for the next who takes one.
    pub fn give_back(&self, connection: KeptConnection) {
        let mut resting = self.resting();
        // those at the bottom are left over from busier times
        let worn = |connection: &KeptConnection| connection.taken.elapsed() > KEPT_MAX;
        resting.retain(|resting| !worn(&resting.connection));
        if resting.len() < self.max && !worn(&connection) {
            let since = Instant::now();
            resting.push(Resting { connection, since });
        }
    }

    fn wake(&self) -> Option<Resting> {
        self.resting().pop()
    }

    fn resting(&self) -> std::sync::MutexGuard<'_, Vec<Resting>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptConnection {
    /// Closes it at once, whatever it is about to answer.
    pub fn discard(self) {
        drop(self.connection.detach());
    }
}

impl Deref for KeptConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for KeptConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
