use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Maximum number of bytes forwarded at once.
const CHUNK: usize = 16 * 1024;

/// A TCP proxy before Postgres or Redis that injects network faults and counts round trips. Ends when its
/// last clone is dropped.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    link: Arc<watch::Sender<Link>>,
    connections: Arc<AtomicUsize>,
    round_trips: Arc<AtomicU64>,
    _accepting: Arc<AbortOnDropHandle<()>>,
}

/// The current state of the link.
#[derive(Debug, Clone, Copy)]
struct Link {
    upstream: SocketAddr,
    state: State,
    /// Incremented to close the connections opened before.
    generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    /// New connections are closed at once.
    Cut,
    /// Connections are accepted and stay open, and no bytes are forwarded.
    Hung,
    /// Requests are forwarded, responses are dropped.
    SwallowsReplies,
    /// Each chunk is delayed.
    Slow(Duration),
}

/// The direction of bytes through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

impl Proxy {
    /// Listens on a loopback port and forwards all connections to `upstream`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("the port it was given");
        let (link, seen) = watch::channel(Link {
            upstream,
            state: State::Up,
            generation: 0,
        });
        let connections = Arc::new(AtomicUsize::new(0));
        let round_trips = Arc::new(AtomicU64::new(0));
        let accepting = accept(listener, seen, Arc::clone(&connections), Arc::clone(&round_trips));
        let accepting = tokio::spawn(accepting);
        Self {
            address,
            link: Arc::new(link),
            connections,
            round_trips,
            _accepting: Arc::new(AbortOnDropHandle::new(accepting)),
        }
    }

    /// Starts a proxy before the server of `url`; also returns the URL through the proxy.
    ///
    /// # Panics
    /// If the URL names no host and port that can be reached.
    pub async fn before_url(url: &str) -> (Self, String) {
        let mut url = url::Url::parse(url).expect("a URL");
        let port = url
            .port()
            .unwrap_or(if url.scheme() == "redis" { 6379 } else { 5432 });
        let host = url.host_str().expect("a host").to_owned();
        let upstream = tokio::net::lookup_host((host, port))
            .await
            .ok()
            .and_then(|mut found| found.next())
            .expect("the host has an address");
        let proxy = Self::before(upstream).await;
        url.set_host(Some("127.0.0.1")).expect("a URL with a host");
        url.set_port(Some(proxy.address.port()))
            .expect("a URL with a port");
        (proxy, url.into())
    }

    /// Returns its listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of open connections through it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of round trips: requests followed by the begin of a response. A pipeline is one
    /// round trip.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// Closes all connections and rejects new ones.
    pub fn cut(&self) {
        self.change(|link| {
            link.state = State::Cut;
            link.generation += 1;
        });
    }

    /// Closes all connections and accepts new ones.
    pub fn close_connections(&self) {
        self.change(|link| link.generation += 1);
    }

    /// Stops forwarding without closing connections.
    pub fn hang(&self) {
        self.change(|link| link.state = State::Hung);
    }

    /// Forwards requests and drops responses.
    pub fn swallow_replies(&self) {
        self.change(|link| link.state = State::SwallowsReplies);
    }

    /// Delays each chunk by `delay`, in both directions.
    pub fn slow_down(&self, delay: Duration) {
        self.change(|link| link.state = State::Slow(delay));
    }

    /// Forwards everything again. Connections that lost bytes are closed, since their streams are incomplete.
    pub fn heal(&self) {
        self.change(|link| {
            if link.state == State::SwallowsReplies {
                link.generation += 1;
            }
            link.state = State::Up;
        });
    }

    /// Forwards new connections to another server and closes those to the current one.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.change(|link| {
            link.upstream = upstream;
            link.generation += 1;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Link)) {
        self.link.send_modify(change);
    }
}

async fn accept(
    listener: TcpListener,
    link: watch::Receiver<Link>,
    connections: Arc<AtomicUsize>,
    round_trips: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let now = *link.borrow();
        if now.state == State::Cut {
            continue;
        }
        let (link, open) = (link.clone(), Open::count(&connections));
        let trips = Trips::counted_in(&round_trips);
        tokio::spawn(async move {
            let _open = open;
            pass_on(client, now, link, &trips).await;
        });
    }
}

/// Counts a connection as open until dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn count(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts the round trips of one connection.
struct Trips {
    total: Arc<AtomicU64>,
    /// True if a request was sent since the last response began.
    asked: AtomicBool,
}

impl Trips {
    fn counted_in(total: &Arc<AtomicU64>) -> Self {
        Self {
            total: Arc::clone(total),
            asked: AtomicBool::new(false),
        }
    }

    fn passed(&self, direction: Direction) {
        match direction {
            Direction::Request => self.asked.store(true, Ordering::SeqCst),
            Direction::Reply if self.asked.swap(false, Ordering::SeqCst) => {
                self.total.fetch_add(1, Ordering::SeqCst);
            }
            Direction::Reply => {}
        }
    }
}

async fn pass_on(client: TcpStream, begun: Link, mut link: watch::Receiver<Link>, trips: &Trips) {
    let ended = link.clone();
    let passing = async {
        // also while hung: the kernel of a hung server would accept the connection too
        let _ = link.wait_for(|link| link.state != State::Hung).await;
        let Ok(server) = TcpStream::connect(begun.upstream).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = copy(from_client, to_server, link.clone(), Direction::Request, trips) => {}
            () = copy(from_server, to_client, link.clone(), Direction::Reply, trips) => {}
        }
    };
    tokio::select! {
        () = passing => {}
        () = superseded(ended, begun.generation) => {}
    }
}

/// Returns when the connections of `generation` must be closed.
async fn superseded(mut link: watch::Receiver<Link>, generation: u64) {
    let _ = link.wait_for(|link| link.generation != generation).await;
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
    direction: Direction,
    trips: &Trips,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            return;
        }
        let Ok(state) = link
            .wait_for(|link| link.state != State::Hung)
            .await
            .map(|link| link.state)
        else {
            return;
        };
        match (state, direction) {
            (State::SwallowsReplies, Direction::Reply) => continue,
            (State::Slow(delay), _) => tokio::time::sleep(delay).await,
            _ => {}
        }
        trips.passed(direction);
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
