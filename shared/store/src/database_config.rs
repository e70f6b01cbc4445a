use secrecy::SecretString;

/// The connection to Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// A `postgres://` URL.
    pub url: SecretString,
    /// Maximum number of connections.
    pub pool_size: u32,
}
