//! Listening and stopping.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt as _;
use tasker_shared::lifecycle::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{error, info};

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

/// Serves `router` on `listener` as a task of the process. After the soft stop no connection is accepted any more, and
/// the task ends when the requests in progress have been answered.
pub fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown) -> JoinHandle<()> {
    let stop = shutdown.soft().clone();
    if let Ok(address) = listener.local_addr() {
        info!(%address, "listening");
    }
    shutdown.spawn_named("http server", async move {
        // answers are small and complete: none waits to be sent together with the next
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(cause) = serving.await {
            error!(%cause, "the HTTP server ended");
        }
    })
}
