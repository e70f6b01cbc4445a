//! An HTTP server for clients that may be slow, unresponsive or many.
//!
//! It adds limits that `axum::serve` does not have: a maximum number of connections ([`Limits::connections`],
//! a quarter of it per address), a short timeout for the first request, a longer one for idle connections, a
//! maximum size of request heads and a write timeout. A timeout for request bodies is left to the handlers
//! that read them.

mod connection;
mod files;
mod limiter;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::network::Network;
use connection::Connection;
pub use files::fitting;
pub use limiter::counted_as;
use limiter::{ConnectionLimiter, ConnectionPermit};

/// Time between attempts to accept while the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The limits on clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of connections, a quarter of it per address; a further one is closed at once.
    pub connections: usize,
    /// Maximum time of a new connection for the TLS handshake, and again for its first request.
    pub first_request: Duration,
    /// Maximum time between two requests of a connection, the head of the second included. Load balancers
    /// reuse connections for a minute: a server that closes them sooner makes requests fail.
    pub idle: Duration,
    /// Maximum time without progress while a response is written.
    pub stalled: Duration,
    /// Maximum size of a request head in bytes, which is also the read buffer of a body.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(30),
            head_bytes: 32 * 1_024,
        }
    }
}

/// An HTTP server. Clones share the connection limiter and the certificate, for several addresses.
#[derive(Debug, Clone)]
pub struct HttpServer {
    limits: Limits,
    limiter: Arc<ConnectionLimiter>,
    tls: Option<Arc<ServerConfig>>,
}

impl HttpServer {
    /// Creates a server, of HTTPS if `tls` is set.
    pub fn new(limits: Limits, tls: Option<Arc<ServerConfig>>) -> Self {
        Self {
            limits,
            limiter: Arc::new(ConnectionLimiter::new(
                limits.connections,
                Network::loopback().to_vec(),
            )),
            tls,
        }
    }

    /// Returns a server with its own limiter that exempts `proxies` from the limit per address, as it does
    /// this machine: each of them connects for many clients.
    #[must_use]
    pub fn behind(self, proxies: &[Network]) -> Self {
        let exempt = [self.limiter.exempt(), proxies].concat();
        Self {
            limiter: Arc::new(ConnectionLimiter::new(self.limits.connections, exempt)),
            ..self
        }
    }

    /// Returns a server with its own limiter of `connections`.
    #[must_use]
    pub fn with_connections(&self, connections: usize) -> Self {
        Self {
            limits: Limits {
                connections,
                ..self.limits
            },
            limiter: Arc::new(ConnectionLimiter::new(
                connections,
                self.limiter.exempt().to_vec(),
            )),
            tls: self.tls.clone(),
        }
    }

    /// Serves `router` on `listener`. After `stop` it accepts no connections and closes idle ones, and it
    /// returns when the requests in progress have been answered.
    ///
    /// Handlers find the address of the client in `ConnectInfo<SocketAddr>`.
    pub fn serve(
        self,
        listener: TcpListener,
        router: Router,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        if let Ok(address) = listener.local_addr() {
            info!(%address, tls = self.tls.is_some(), "listening");
        }
        self.accept_until(listener, router, stop)
    }

    async fn accept_until(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        // builds the routes once instead of for each request
        let router = router.with_state(());
        let connections = TaskTracker::new();
        loop {
            let (stream, client) = tokio::select! {
                // a stop wins over connections that keep arriving
                biased;
                () = stop.cancelled() => break,
                accepted = accept(&listener) => accepted,
            };
            let Some(permit) = self.limiter.acquire(client.ip()) else {
                metrics::counter!("tasker_http_connections_refused_total").increment(1);
                continue;
            };
            let connection = Connection {
                client,
                router: router.clone(),
                limits: self.limits,
                // a child token each, since polling one shared token would contend for its lock
                stop: stop.child_token(),
            };
            connections.spawn(self.clone().serve_connection(stream, connection, permit));
        }
        // before the wait, so that new connections are refused instead of queued in the backlog
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    async fn serve_connection(self, stream: TcpStream, connection: Connection, permit: ConnectionPermit) {
        // responses are small and written at once, so Nagle's algorithm would only delay them
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => connection.serve(stream).await,
            Some(tls) => {
                let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
                let accepted = tokio::select! {
                    // no request has been received yet, so a stop need not wait
                    biased;
                    () = connection.stop.cancelled() => return,
                    accepted = tokio::time::timeout(self.limits.first_request, handshake)  => accepted,
                };
                // rustls has sent the alert that a failed handshake calls for
                if let Ok(Ok(stream)) = accepted {
                    connection.serve(stream).await;
                } else {
                    metrics::counter!("tasker_http_handshakes_failed_total").increment(1);
                }
            }
        }
        // held until here: the permit counts the open connection
        drop(permit);
    }
}

/// Accepts a connection. An error is caused by the client (which has disconnected), or by a lack of file
/// descriptors, while connections wait in the backlog of the system.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    // one log line per shortage instead of ten per second
    let mut logged = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_the_clients(&error) => {}
            Err(cause) => {
                if !std::mem::replace(&mut logged, true) {
                    warn!(%cause, "failed to accept connections; retrying");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
