use secrecy::SecretString;

/// The connection to Redis.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// A `redis://` or `rediss://` URL with its password.
    pub url: SecretString,
    /// CA certificates in PEM to verify a `rediss://` server with; `None` means those of the system.
    pub authority: Option<String>,
    /// Prefix of the Redis keys of queues.
    pub key_prefix: String,
}
