//! Listening and stopping.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tasker_shared::config::{ServerConfig, ServerTls};
use tasker_shared::http::{HttpServer, Limits, fitting};
use tasker_shared::lifecycle::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Places of the address for health and metrics, which answers while all others are taken.
const OPERATIONS_CONNECTIONS: usize = 64;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Listens on an address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| BindError { address, source })
}

/// What the addresses of this server share, as far as the system has files for it; and the same with places of its own for
/// health and metrics.
pub fn doors(config: &ServerConfig) -> (HttpServer, HttpServer) {
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

/// Serves `router` on `listener` as a task of the process. After the soft stop no connection is accepted any more, and
/// the task ends when the requests in progress have been answered.
pub fn serve(listener: TcpListener, router: Router, door: HttpServer, shutdown: &Shutdown) -> JoinHandle<()> {
    let stop = shutdown.soft().clone();
    shutdown.spawn_named("http server", door.serve(listener, router, stop))
}
