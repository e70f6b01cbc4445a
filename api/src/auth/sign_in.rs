//! The sign-in of this server: verifies credentials and counts failures.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tasker_config::{Admin, SignInConfig};
use tasker_core::role::Role;
use tasker_platform::http::counted_as;
use tasker_platform::network::Network;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::api_keys::{ApiKeyCache, CachedKey, hash};
use super::credentials::Credentials;
use super::failures::Failures;
use super::identity::{Caller, Identity, SignedInBy};
use super::rates::Rates;
use super::rejection::AuthRejection;
use super::token::{Tokens, warn_of_random_secret};
use crate::error::ApiError;

/// The maximum number of failed sign-ins per address and minute.
pub const FAILURES_OF_AN_ADDRESS: u32 = 10;
/// The maximum number of failed sign-ins per user name and minute, over all addresses.
pub const FAILURES_OF_A_NAME: u32 = 50;
/// The interval of writing key usage and of clean-ups.
const UPKEEP_INTERVAL: Duration = Duration::from_mins(1);

/// The sign-in of this server: its user, tokens, API keys and limits.
#[derive(Debug)]
pub struct Auth {
    /// The user of the configuration; `None` where sign-in is off.
    admin: Option<KnownAdmin>,
    pub(super) anonymous: Arc<Identity>,
    /// Tokens.
    pub tokens: Tokens,
    /// API keys.
    pub keys: Arc<ApiKeyCache>,
    pub(super) rates: Option<Rates>,
    addresses: Failures<IpAddr>,
    names: Failures<u64>,
    hasher: RandomState,
    pub(super) guards_metrics: bool,
    pub(super) proxies: Vec<Network>,
}

/// The user with a password. Hashes are compared in constant time, so that timing reveals neither name nor
/// password.
#[derive(Debug)]
struct KnownAdmin {
    user: [u8; 32],
    password: [u8; 32],
    identity: Arc<Identity>,
}

impl KnownAdmin {
    fn new(admin: &Admin) -> Self {
        Self {
            user: sha256(&admin.user),
            password: sha256(admin.password.expose_secret()),
            identity: Arc::new(Identity {
                name: admin.user.as_str().into(),
                role: Role::Admin,
                queues: None,
                by: SignedInBy::Password,
            }),
        }
    }

    fn is(&self, user: &str, password: &str) -> bool {
        // hashes have one length, which a constant-time comparison needs; `&` and not `&&`, so that both
        // parts are compared always
        let (user, password) = (sha256(user), sha256(password));
        bool::from(self.user.ct_eq(&user) & self.password.ct_eq(&password))
    }
}

impl Auth {
    /// Creates the sign-in that the configuration describes.
    pub fn new(config: &SignInConfig, keys: Arc<ApiKeyCache>) -> Self {
        if config.admin.is_none() {
            warn!("sign-in is off: every client that can reach this server has all permissions");
        } else if config.token_secret.is_none() {
            warn_of_random_secret();
        }
        Self {
            admin: config.admin.as_ref().map(KnownAdmin::new),
            anonymous: Arc::new(Identity::anonymous()),
            tokens: Tokens::new(config.token_secret.as_ref()),
            keys,
            rates: config.rate_limit.map(Rates::new),
            addresses: Failures::new(FAILURES_OF_AN_ADDRESS),
            names: Failures::new(FAILURES_OF_A_NAME),
            hasher: RandomState::new(),
            guards_metrics: config.metrics_auth,
            proxies: config.trusted_proxies.clone(),
        }
    }

    /// Returns true if sign-in is on.
    pub fn is_on(&self) -> bool {
        self.admin.is_some()
    }

    /// Counts the tasks of a batch against the rate limit of its caller.
    pub fn count_batch(&self, caller: &Caller, tasks: usize) -> Result<(), AuthRejection> {
        self.rates
            .as_ref()
            .map_or(Ok(()), |rates| rates.batch(caller, tasks))
    }

    /// Writes key usage and removes outdated counters, until `stop`.
    pub async fn upkeep(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                biased;
                // uses since the last tick would be lost with the process
                () = stop.cancelled() => return self.keys.write_uses().await,
                _ = tick.tick() => {}
            }
            self.keys.write_uses().await;
            let now = Instant::now();
            self.addresses.sweep(now);
            self.names.sweep(now);
            if let Some(rates) = &self.rates {
                rates.sweep();
            }
        }
    }

    /// Verifies credentials and returns their identity.
    pub(super) async fn identify(
        &self,
        credentials: Credentials,
        address: IpAddr,
    ) -> Result<Arc<Identity>, ApiError> {
        match credentials {
            Credentials::Password(user, password) => {
                self.by_password(&user, &password, address).map_err(Into::into)
            }
            Credentials::Key(key) => self.by_key(&key, address).await,
            // valid tokens pass even from a locked-out address: an HMAC key cannot be guessed, and users
            // behind one address are not locked out by their neighbours
            Credentials::Token(token) => match self.tokens.read(&token) {
                Ok(identity) => Ok(Arc::new(identity)),
                Err(AuthRejection::Wrong) => Err(self.failed(address, "token").into()),
                Err(rejection) => Err(rejection.into()),
            },
        }
    }

    fn by_password(
        &self,
        user: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<Arc<Identity>, AuthRejection> {
        // existing and unknown names are treated alike, so that the answer does not reveal which exist
        let (now, name) = (Instant::now(), self.hasher.hash_one(user));
        let locked = self.locked(address).or_else(|| self.names.locked(&name, now));
        if let Some(wait) = locked {
            return Err(AuthRejection::Locked(wait));
        }
        match &self.admin {
            Some(admin) if admin.is(user, password) => Ok(Arc::clone(&admin.identity)),
            _ => {
                self.names.note(name, now);
                Err(self.failed(address, "password"))
            }
        }
    }

    async fn by_key(&self, key: &str, address: IpAddr) -> Result<Arc<Identity>, ApiError> {
        let hash = hash(key);
        match self.keys.get(&hash) {
            CachedKey::Valid(identity) => return Ok(identity),
            CachedKey::Unknown => return Err(self.failed(address, "key").into()),
            CachedKey::Expired => {}
            CachedKey::Missing => {
                if let Some(wait) = self.locked(address) {
                    return Err(AuthRejection::Locked(wait).into());
                }
                // clients with many addresses could otherwise keep Postgres busy with lookups of invented
                // keys
                if !self.keys.may_look_up_unknown() {
                    return Err(ApiError::Overloaded("Too many unknown keys are being tried."));
                }
            }
        }
        let found = self.keys.look_up(&hash).await?;
        found.ok_or_else(|| self.failed(address, "key").into())
    }

    fn locked(&self, address: IpAddr) -> Option<Duration> {
        self.addresses.locked(&counted_as(address), Instant::now())
    }

    /// Records a failed sign-in and returns the rejection to answer with. The tried secret is not logged,
    /// since it may be a mistyped valid one.
    pub(super) fn failed(&self, address: IpAddr, by: &'static str) -> AuthRejection {
        if let Some(wait) = self.locked(address) {
            return AuthRejection::Locked(wait);
        }
        self.addresses.note(counted_as(address), Instant::now());
        warn!(client.address = %address, by, "sign-in failed");
        AuthRejection::Wrong
    }
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
