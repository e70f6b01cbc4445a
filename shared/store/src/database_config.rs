use std::time::Duration;

use secrecy::SecretString;

/// The connection to Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// A `postgres://` URL.
    pub url: SecretString,
    /// Maximum number of connections.
    pub pool_size: u32,
    /// Time without use after which a connection is closed.
    pub pool_idle: Duration,
    /// Age at which a connection is closed once it is not in use.
    pub pool_lifetime: Duration,
}
