//! Serving HTTP to clients that may be slow, silent or many.
//!
//! `axum::serve` bounds none of it. Here a connection has a place among so many ([`Limits::connections`], a
//! quarter of them for one address), a short time to show what it wants, a longer one to rest between
//! requests, little room for the head of a request, and must take what it is answered. How long a body may
//! take is the business of whoever reads it.

mod connection;
mod files;
mod limiter;
#[cfg(test)]
mod tests;
mod write_timeout;

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

use crate::config::Network;
use connection::Connection;
pub use files::fitting;
pub use limiter::counted_as;
use limiter::{ConnectionLimiter, ConnectionPermit};

/// Time between tries to accept while the system has no room for another file.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, a quarter of them for one address; one more is closed at once.
    pub connections: usize,
    /// How long a new connection may take for the handshake of TLS, and then for its first request.
    pub first_request: Duration,
    /// How long a connection may rest between two requests, the head of the second included. Load balancers
    /// keep theirs for a minute: a server that closes sooner makes them fail requests.
    pub idle: Duration,
    /// How long a client may take nothing of what is being sent to it.
    pub stalled: Duration,
    /// Room for the head of a request, which is also what is read ahead of a body.
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

/// What the addresses of a server share: the places for connections, and the certificate.
#[derive(Debug, Clone)]
pub struct HttpServer {
    limits: Limits,
    limiter: Arc<ConnectionLimiter>,
    tls: Option<Arc<ServerConfig>>,
}

impl HttpServer {
    /// Serves HTTPS if there are settings for that.
    pub fn new(limits: Limits, tls: Option<Arc<ServerConfig>>) -> Self {
        Self {
            limits,
            limiter: Arc::new(ConnectionLimiter::new(
                limits.connections,
                Network::LOOPBACK.to_vec(),
            )),
            tls,
        }
    }

    /// The same behind `proxies`, each of which speaks for many clients and may take every place, as this
    /// machine itself may.
    #[must_use]
    pub fn behind(self, proxies: &[Network]) -> Self {
        let exempt = [self.limiter.exempt(), proxies].concat();
        Self {
            limiter: Arc::new(ConnectionLimiter::new(self.limits.connections, exempt)),
            ..self
        }
    }

    /// The same with `connections` places of its own.
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

    /// Serves `router` on `listener`. After `stop` no connection is accepted any more, those that rest are
    /// closed, and this ends when the requests in progress have been answered.
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
        // makes routes of the router once instead of for each request
        let router = router.with_state(());
        let connections = TaskTracker::new();
        loop {
            let (stream, client) = tokio::select! {
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
                // a child, so that connections do not share a lock each time one of them is looked at
                stop: stop.child_token(),
            };
            connections.spawn(self.clone().attend(stream, connection, permit));
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    async fn attend(self, stream: TcpStream, connection: Connection, permit: ConnectionPermit) {
        // answers are small and complete: none waits to be sent together with the next
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => connection.serve(stream).await,
            Some(tls) => {
                let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
                let greeted = tokio::select! {
                    biased;
                    () = connection.stop.cancelled() => return,
                    greeted = tokio::time::timeout(self.limits.first_request, handshake)  => greeted,
                };
                // who gives up or speaks no TLS is told so by rustls
                if let Ok(Ok(stream)) = greeted {
                    connection.serve(stream).await;
                } else {
                    metrics::counter!("tasker_http_handshakes_failed_total").increment(1);
                }
            }
        }
        drop(permit);
    }
}

/// Accepts a connection. An error is the client's (it is gone again), or the system has no more room for
/// files: then those that wait in its backlog wait on.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut said = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_the_clients(&error) => {}
            Err(cause) => {
                if !std::mem::replace(&mut said, true) {
                    warn!(%cause, "no connection can be accepted");
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
