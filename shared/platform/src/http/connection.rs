//! One client connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::Limits;

/// Time that a connection without a request yet stays open once the server stops: its request may be on the
/// way.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// An accepted connection.
pub(super) struct Connection {
    pub(super) client: SocketAddr,
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
}

impl Connection {
    /// Serves its requests until either side closes it.
    pub(super) async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (asked, router, client) = (Arc::clone(&asked), self.router, ConnectInfo(self.client));
            service_fn(move |mut request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(client);
                router.clone().call(request)
            })
        };
        // fails once the client has read nothing of a response for a while
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(self.limits.stalled));
        let stream = TokioIo::new(Box::pin(stream));
        let mut serving = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.idle)
                .max_buf_size(self.limits.head_bytes)
                .serve_connection(stream, service)
        );
        let mut request_timer = pin!(tokio::time::sleep(self.limits.first_request));
        let mut stopping = pin!(self.stop.cancelled());
        let (mut stops, mut waits) = (false, true);
        // errors are dropped: they are caused by the client, and its connection is gone
        poll_fn(|context| {
            if serving.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            if !stops && stopping.as_mut().poll(context).is_ready() {
                stops = true;
                // finishes the request in progress and closes an idle connection
                serving.as_mut().graceful_shutdown();
                request_timer.set(tokio::time::sleep(STOP_GRACE));
                if serving.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
            }
            // the limit on the first request ends with its head: a slow handler must not be cut off by it
            waits = waits && !asked.load(Ordering::Relaxed);
            if waits && request_timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}
