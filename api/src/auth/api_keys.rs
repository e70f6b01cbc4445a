//! A cache of API keys, so that hardly any request with a key needs a query.
//!
//! An entry is valid for [`MAX_AGE`], which is how long a revoked or expired key may still be accepted. A
//! request with an entry older than `REFRESH_AGE` starts a lookup in the background, so that a key in
//! constant use never waits for Postgres. Unknown keys are cached too, and their lookups are rate-limited
//! over all clients.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest as _, Sha256};
use tasker_platform::lifecycle::Shutdown;
use tasker_store::api_keys;
use tokio::sync::Semaphore;
use tracing::warn;
use uuid::Uuid;

use super::identity::Identity;
use crate::db::Db;
use crate::error::ApiError;
use crate::postgres::PostgresHealth;

/// The age from which an entry in use is refreshed in the background.
const REFRESH_AGE: Duration = Duration::from_secs(2);
/// The age from which an entry is not used.
pub const MAX_AGE: Duration = Duration::from_secs(5);
/// The maximum number of cached keys. At most `KEYS_MAX` exist, except for keys revoked in the last seconds.
const KNOWN_MAX: usize = 4 * 1_024;
/// The maximum number of cached unknown keys.
const UNKNOWN_MAX: usize = 4 * 1_024;
/// The maximum number of concurrent lookups.
const LOOKUPS_MAX: usize = 4;
/// The maximum rate of lookups of keys that are not in the cache.
const UNKNOWN_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

/// The SHA-256 of a key.
pub type KeyHash = [u8; 32];

/// Returns the hash that a key is stored under.
pub fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// The cache's answer for a key.
#[derive(Debug)]
pub enum CachedKey {
    /// The key is valid.
    Valid(Arc<Identity>),
    /// The key was valid, but the entry is too old.
    Expired,
    /// The key does not exist.
    Unknown,
    /// The key is not in the cache.
    Missing,
}

/// The API keys that were used in the last seconds.
#[derive(Debug)]
pub struct ApiKeyCache {
    db: Db,
    postgres: Arc<PostgresHealth>,
    shutdown: Shutdown,
    known: RwLock<HashMap<KeyHash, Arc<Known>>>,
    unknown: RwLock<HashMap<KeyHash, Instant>>,
    /// Keys revoked through this server in the last seconds: a lookup that began before may still find them.
    revoked: RwLock<HashMap<Uuid, Instant>>,
    lookups: Semaphore,
    unknown_rate: DefaultDirectRateLimiter,
    began: Instant,
}

/// A key that was valid when it was looked up.
#[derive(Debug)]
struct Known {
    id: Uuid,
    identity: Arc<Identity>,
    looked_at: Instant,
    refreshing: AtomicBool,
    /// The time of its last use, in milliseconds since the cache was created; 0 when it is already written.
    used_at: Arc<AtomicU64>,
}

impl ApiKeyCache {
    /// Creates an empty cache.
    pub fn new(db: Db, postgres: Arc<PostgresHealth>, shutdown: Shutdown) -> Self {
        Self {
            db,
            postgres,
            shutdown,
            known: RwLock::default(),
            unknown: RwLock::default(),
            revoked: RwLock::default(),
            lookups: Semaphore::new(LOOKUPS_MAX),
            unknown_rate: RateLimiter::direct(Quota::per_second(UNKNOWN_PER_SECOND)),
            began: Instant::now(),
        }
    }

    /// Returns the cache's answer for a key, and starts a refresh where the entry is old.
    pub fn get(self: &Arc<Self>, hash: &KeyHash) -> CachedKey {
        let known = read(&self.known).get(hash).map(Arc::clone);
        if let Some(known) = known {
            let age = known.looked_at.elapsed();
            if age >= MAX_AGE {
                return CachedKey::Expired;
            }
            // the flag lets one request of many start the lookup
            if age >= REFRESH_AGE && !known.refreshing.swap(true, Ordering::Relaxed) {
                self.refresh(*hash, Arc::clone(&known));
            }
            self.note_use(&known);
            return CachedKey::Valid(Arc::clone(&known.identity));
        }
        match read(&self.unknown).get(hash) {
            Some(looked_at) if looked_at.elapsed() < MAX_AGE => CachedKey::Unknown,
            _ => CachedKey::Missing,
        }
    }

    /// Returns true if the rate limit permits a lookup of a key that is not in the cache.
    pub fn may_look_up_unknown(&self) -> bool {
        self.unknown_rate.check().is_ok()
    }

    /// Returns the identity of a key, or `None` if the key does not exist.
    pub async fn look_up(self: &Arc<Self>, hash: &KeyHash) -> Result<Option<Arc<Identity>>, ApiError> {
        // the semaphore is never closed
        let _turn = self.lookups.acquire().await;
        // another request may have looked it up while this one waited
        match self.get(hash) {
            CachedKey::Valid(identity) => Ok(Some(identity)),
            CachedKey::Unknown => Ok(None),
            CachedKey::Expired | CachedKey::Missing => self.fetch(hash).await,
        }
    }

    /// Looks a key up in Postgres and caches the answer.
    async fn fetch(&self, hash: &KeyHash) -> Result<Option<Arc<Identity>>, ApiError> {
        self.postgres.check()?;
        // the age of the entry counts from here: the key may be revoked while the query runs
        let asked_at = Instant::now();
        let grant = self.postgres.while_alive(api_keys::find(&self.db, hash)).await?;
        // locked before the revoked keys are read: `forget` enters a key there under this lock, so a lookup
        // that began before the revocation cannot cache the key again afterwards
        let mut known = write(&self.known);
        let grant = grant.filter(|grant| !read(&self.revoked).contains_key(&grant.id));
        let Some(grant) = grant else {
            // revoked or expired since it was cached
            known.remove(hash);
            let counts = |looked_at: &Instant| looked_at.elapsed() < MAX_AGE;
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
            refreshing: AtomicBool::new(false),
            used_at,
        });
        self.note_use(&entry);
        let identity = Arc::clone(&entry.identity);
        let counts = |known: &Arc<Known>| known.looked_at.elapsed() < MAX_AGE;
        insert_bounded(&mut known, KNOWN_MAX, *hash, entry, counts);
        Ok(Some(identity))
    }

    /// Removes a key that was revoked through this server; other servers stop accepting it within
    /// [`MAX_AGE`].
    pub fn forget(&self, id: Uuid) {
        let mut known = write(&self.known);
        let counts = |revoked_at: &Instant| revoked_at.elapsed() < MAX_AGE;
        insert_bounded(&mut write(&self.revoked), KNOWN_MAX, id, Instant::now(), counts);
        known.retain(|_, known| known.id != id);
    }

    /// Writes the last use of the keys that were used since the last call.
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
            .while_alive(api_keys::note_use(&self.db, &ids, &ages))
            .await
        {
            warn!(cause = %error, "cannot write the last use of API keys");
            // the maximum, since a request may have noted a later use meanwhile
            for (known, at) in used {
                known.used_at.fetch_max(at, Ordering::Relaxed);
            }
        }
    }

    fn refresh(self: &Arc<Self>, hash: KeyHash, known: Arc<Known>) {
        let keys = Arc::clone(self);
        self.shutdown.tracker().spawn(async move {
            // a failure is reported to the request that finds the entry too old
            if keys.fetch(&hash).await.is_err() {
                known.refreshing.store(false, Ordering::Relaxed);
            }
        });
    }

    fn note_use(&self, known: &Known) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // 0 stands for "already written"
        known.used_at.store(now.max(1), Ordering::Relaxed);
    }
}

/// Inserts a value into a map of at most `max` entries: a full map drops its outdated entries, or else all of
/// them.
fn insert_bounded<K: Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    max: usize,
    key: K,
    value: V,
    counts: impl Fn(&V) -> bool,
) {
    if map.len() >= max && !map.contains_key(&key) {
        map.retain(|_, value| counts(value));
        if map.len() >= max {
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
