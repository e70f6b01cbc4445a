//! API keys, remembered for seconds: a request with one costs a look into memory and hardly ever one into Postgres.
//!
//! What is remembered of a key counts for [`HOLDS`], which is how long a key that is revoked or has expired may still be
//! taken. From `FRESH` on a request that uses it has it looked up again, beside the request, so that who sends many never
//! waits. ApiKeyCache that nobody knows are looked up within a budget, whoever sends them, and remembered too.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest as _, Sha256};
use tasker_shared::lifecycle::Shutdown;
use tasker_shared::store::{PgPool, api_keys};
use tokio::sync::Semaphore;
use tracing::warn;
use uuid::Uuid;

use super::identity::Identity;
use crate::error::{ApiError, describe};
use crate::postgres::PostgresHealth;

/// From then on what is remembered of a key is looked up again.
const FRESH: Duration = Duration::from_secs(2);
/// From then on it does not count any more.
pub const HOLDS: Duration = Duration::from_secs(5);
/// Most keys that are remembered; there are fewer, save some that were revoked meanwhile.
const KNOWN_MAX: usize = 4 * 1_024;
/// Most keys that nobody knows which are remembered.
const UNKNOWN_MAX: usize = 4 * 1_024;
/// Lookups at once.
const LOOKUPS_MAX: usize = 4;
/// Lookups a second of keys that this server has not seen.
const STRANGERS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

/// The SHA-256 of a key.
pub type KeyHash = [u8; 32];

/// What a key is known by.
pub fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// What is remembered of a key.
#[derive(Debug)]
pub enum CachedKey {
    /// It holds.
    Holds(Arc<Identity>),
    /// It held a while ago.
    Held,
    /// Nobody knows it.
    Unknown,
    /// Nothing.
    Nothing,
}

/// The keys that were used lately.
#[derive(Debug)]
pub struct ApiKeyCache {
    db: PgPool,
    postgres: Arc<PostgresHealth>,
    shutdown: Shutdown,
    known: RwLock<HashMap<KeyHash, Arc<Known>>>,
    unknown: RwLock<HashMap<KeyHash, Instant>>,
    /// ApiKeyCache that were revoked here lately: a lookup that was under way may still find them.
    revoked: RwLock<HashMap<Uuid, Instant>>,
    lookups: Semaphore,
    strangers: DefaultDirectRateLimiter,
    began: Instant,
}

/// A key that held when it was looked up.
#[derive(Debug)]
struct Known {
    id: Uuid,
    identity: Arc<Identity>,
    looked_at: Instant,
    looks_again: AtomicBool,
    /// When it was last used, in milliseconds since the cache began; 0 when that is noted already.
    used_at: Arc<AtomicU64>,
}

impl ApiKeyCache {
    /// Remembers nothing yet.
    pub fn new(db: PgPool, postgres: Arc<PostgresHealth>, shutdown: Shutdown) -> Self {
        Self {
            db,
            postgres,
            shutdown,
            known: RwLock::default(),
            unknown: RwLock::default(),
            revoked: RwLock::default(),
            lookups: Semaphore::new(LOOKUPS_MAX),
            strangers: RateLimiter::direct(Quota::per_second(STRANGERS_PER_SECOND)),
            began: Instant::now(),
        }
    }

    /// What is remembered of a key. One that is used is looked up again beside its requests.
    pub fn remembered(self: &Arc<Self>, hash: &KeyHash) -> CachedKey {
        let known = read(&self.known).get(hash).map(Arc::clone);
        if let Some(known) = known {
            let age = known.looked_at.elapsed();
            if age >= HOLDS {
                return CachedKey::Expired;
            }
            if age >= FRESH && !known.looks_again.swap(true, Ordering::Relaxed) {
                self.look_again(*hash, Arc::clone(&known));
            }
            self.note_use(&known);
            return CachedKey::Valid(Arc::clone(&known.identity));
        }
        match read(&self.unknown).get(hash) {
            Some(looked_at) if looked_at.elapsed() < HOLDS => CachedKey::Unknown,
            _ => CachedKey::Missing,
        }
    }

    /// Whether there is room for a lookup of a key that was not seen before.
    pub fn may_look_up_a_stranger(&self) -> bool {
        self.strangers.check().is_ok()
    }

    /// Whoever has this key; nothing if nobody knows it.
    pub async fn look_up(self: &Arc<Self>, hash: &KeyHash) -> Result<Option<Arc<Identity>>, ApiError> {
        // the semaphore is never closed
        let _turn = self.lookups.acquire().await;
        // somebody else may have looked it up meanwhile
        match self.remembered(hash) {
            CachedKey::Valid(identity) => Ok(Some(identity)),
            CachedKey::Unknown => Ok(None),
            CachedKey::Expired | CachedKey::Missing => self.ask(hash).await,
        }
    }

    /// Asks Postgres for whoever has this key, and remembers the answer.
    async fn ask(&self, hash: &KeyHash) -> Result<Option<Arc<Identity>>, ApiError> {
        self.postgres.check()?;
        let asked_at = Instant::now();
        let grant = self.postgres.call(api_keys::find(&self.db, hash)).await?;
        let mut known = write(&self.known);
        let grant = grant.filter(|grant| !read(&self.revoked).contains_key(&grant.id));
        let Some(grant) = grant else {
            known.remove(hash);
            let counts = |looked_at: &Instant| looked_at.elapsed() < HOLDS;
            insert_bounded(&mut write(&self.unknown), UNKNOWN_MAX, *hash, asked_at, counts);
            return Ok(None);
        };
        let used_at = known
            .get(hash)
            .map(|known| Arc::clone(&known.used_at))
            .unwrap_or_default();
        let entry = Arc::new(Known {
            id: grant.id,
            identity: Arc::new(Identity::of_key(grant)),
            looked_at: asked_at,
            looks_again: AtomicBool::new(false),
            used_at,
        });
        self.note_use(&entry);
        let identity = Arc::clone(&entry.identity);
        let counts = |known: &Arc<Known>| known.looked_at.elapsed() < HOLDS;
        insert_bounded(&mut known, KNOWN_MAX, *hash, entry, counts);
        Ok(Some(identity))
    }

    /// Forgets a key that was revoked here; other servers forget it within [`HOLDS`].
    pub fn forget(&self, id: Uuid) {
        let mut known = write(&self.known);
        let counts = |revoked_at: &Instant| revoked_at.elapsed() < HOLDS;
        insert_bounded(&mut write(&self.revoked), KNOWN_MAX, id, Instant::now(), counts);
        known.retain(|_, known| known.id != id);
    }

    /// Writes when keys were last used, those that were since the last time.
    pub async fn write_uses(&self) {
        let used: Vec<(Arc<Known>, u64)> = read(&self.known)
            .values()
            .filter_map(|known| match known.used_at.swap(0, Ordering::Relaxed) {
                0 => None,
                at => Some((Arc::clone(known), at)),
            })
            .collect();
        if used.is_empty() {
            return;
        }
        let now = self.began.elapsed();
        let (ids, ages): (Vec<Uuid>, Vec<f64>) = used
            .iter()
            .map(|(known, at)| {
                (
                    known.id,
                    now.saturating_sub(Duration::from_millis(*at)).as_secs_f64(),
                )
            })
            .unzip();
        if let Err(error) = self
            .postgres
            .call(api_keys::note_use(&self.db, &ids, &ages))
            .await
        {
            warn!(
                cause = describe(&error),
                "the last use of API keys could not be noted"
            );
            for (known, at) in used {
                known.used_at.fetch_max(at, Ordering::Relaxed);
            }
        }
    }

    fn look_again(self: &Arc<Self>, hash: KeyHash, known: Arc<Known>) {
        let keys = Arc::clone(self);
        self.shutdown.tracker().spawn(async move {
            // a failure is told where somebody needs the answer
            if keys.ask(&hash).await.is_err() {
                known.looks_again.store(false, Ordering::Relaxed);
            }
        });
    }

    fn note_use(&self, known: &Known) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        known.used_at.store(now.max(1), Ordering::Relaxed);
    }
}

/// Makes room for one more by letting go of what does not count any more, or of everything.
fn insert_bounded<K: Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    most: usize,
    key: K,
    value: V,
    counts: impl Fn(&V) -> bool,
) {
    if map.len() >= most && !map.contains_key(&key) {
        map.retain(|_, value| counts(value));
        if map.len() >= most {
            map.clear();
        }
    }
    map.insert(key, value);
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
