//! HTTP listeners and their graceful shutdown.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tasker_config::{ServerConfig, ServerTls};
use tasker_platform::http::{HttpServer, Limits, fitting};
use tasker_platform::lifecycle::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The connection limit of the address for health and metrics, which stays reachable when the main limit is
/// reached.
const OPERATIONS_CONNECTIONS: usize = 64;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Binds a listener.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| BindError { address, source })
}

/// Returns the connection limits: one shared by all API addresses, lowered to fit the limit of open files,
/// and one of its own for the address of health and metrics.
pub fn doors(config: &ServerConfig) -> (HttpServer, HttpServer) {
    // other connections that use up the open files of the process
    let others = config.database.pool_size as usize + OPERATIONS_CONNECTIONS;
    let limits = Limits {
        connections: fitting(config.max_connections, others),
        ..Limits::default()
    };
    let door = HttpServer::new(limits, config.tls.as_ref().map(ServerTls::config))
        .behind(&config.sign_in.trusted_proxies);
    let operations = door.with_connections(OPERATIONS_CONNECTIONS);
    (door, operations)
}

/// Serves `router` on `listener` in a background task. After the soft stop no connection is accepted, and the
/// task ends when the requests in progress are answered.
pub fn serve(listener: TcpListener, router: Router, door: HttpServer, shutdown: &Shutdown) -> JoinHandle<()> {
    let stop = shutdown.soft().clone();
    shutdown.spawn_named("http server", door.serve(listener, router, stop))
}
