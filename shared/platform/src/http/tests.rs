use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::network::Network;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const HEAD: &str = "GET / HTTP/1.1\r\nHost: x\r\n";

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    start_with(HttpServer::new(limits, None)).await
}

async fn start_with(server: HttpServer) -> Running {
    let router = Router::new()
        .route(
            "/",
            get(async |ConnectInfo(client): ConnectInfo<SocketAddr>| client.to_string()),
        )
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        )
        .route("/long", get(async || "x".repeat(64 * 1_024 * 1_024)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.serve(listener, router, stop.clone()));
    Running {
        address,
        stop,
        served: running,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// A connection from 127.0.0.`last`.
    async fn connect_from(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, last], 0).into()).expect("an address");
        socket.connect(self.address).await.expect("connected")
    }

    async fn stopped(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.served)
            .await
            .expect("it stops")
            .expect("without a panic");
    }
}

/// Returns the bytes received until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // a reset is a close as well
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes))
        .await
        .expect("the other side closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns one answer of a connection that stays open, read up to `end`.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1_024];
    while !text.ends_with(end) {
        let read = tokio::time::timeout(SOON, stream.read(&mut buffer));
        let read = read.await.expect("an answer").expect("a connection");
        assert!(read > 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

fn quick() -> Limits {
    Limits {
        first_request: Duration::from_millis(200),
        idle: Duration::from_millis(400),
        stalled: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_handler_knows_its_client_and_a_connection_serves_many_requests() {
    let running = start(Limits::default()).await;
    let mut stream = running.connect().await;
    let client = stream.local_addr().expect("an address").to_string();
    for _ in 0..3 {
        stream
            .write_all(format!("{HEAD}\r\n").as_bytes())
            .await
            .expect("sent");
        let answer = answer(&mut stream, &client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    running.stopped().await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_sends_nothing_and_one_whose_head_trickles_in_are_disconnected() {
    let running = start(quick()).await;
    let mut silent = running.connect().await;
    let mut trickling = running.connect().await;
    let began = Instant::now();
    let mut sent = 0;
    let trickle = async {
        // until the server has closed it
        while trickling.write_all(&HEAD.as_bytes()[sent..=sent]).await.is_ok() {
            sent = (sent + 1) % 10;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (_, silence) = tokio::join!(tokio::time::timeout(SOON, trickle), rest(&mut silent));
    assert_eq!(silence, "");
    assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
    running.stopped().await;
}

#[tokio::test]
async fn a_connection_that_rests_too_long_between_requests_is_closed() {
    let running = start(quick()).await;
    let mut stream = running.connect().await;
    stream
        .write_all(format!("{HEAD}\r\n").as_bytes())
        .await
        .expect("sent");
    let client = stream.local_addr().expect("an address").to_string();
    answer(&mut stream, &client).await;
    // longer than a first request may take, shorter than the rest
    tokio::time::sleep(Duration::from_millis(250)).await;
    stream
        .write_all(format!("{HEAD}\r\n").as_bytes())
        .await
        .expect("sent");
    answer(&mut stream, &client).await;
    assert_eq!(rest(&mut stream).await, "");
    running.stopped().await;
}

#[tokio::test]
async fn a_request_in_progress_outlasts_every_limit_of_its_connection() {
    let running = start(Limits {
        idle: Duration::from_millis(50),
        first_request: Duration::from_millis(50),
        ..quick()
    })
    .await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    assert!(rest(&mut stream).await.ends_with("slow"));
    running.stopped().await;
}

#[tokio::test]
async fn a_head_without_end_and_one_of_many_lines_are_rejected() {
    let running = start(Limits::default()).await;
    for flood in [
        format!("{HEAD}X: {}", "x".repeat(40_000)),
        format!("{HEAD}{}\r\n", "a: b\r\n".repeat(200)),
    ] {
        let mut stream = running.connect().await;
        let _ = stream.write_all(flood.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    running.stopped().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_another_may_follow_when_one_ends() {
    let running = start(Limits {
        connections: 2,
        ..Limits::default()
    })
    .await;
    let (first, second) = (running.connect().await, running.connect().await);
    let mut third = running.connect().await;
    assert_eq!(rest(&mut third).await, "");
    drop(first);
    let deadline = Instant::now() + SOON;
    loop {
        let mut stream = running.connect().await;
        let _ = stream
            .write_all(format!("{HEAD}Connection: close\r\n\r\n").as_bytes())
            .await;
        if rest(&mut stream).await.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(Instant::now() < deadline, "the permit stays taken");
    }
    drop(second);
    running.stopped().await;
}

#[tokio::test]
async fn an_address_at_its_maximum_keeps_no_other_out() {
    let limits = Limits {
        connections: 8,
        ..Limits::default()
    };
    let running = start_with(HttpServer {
        limiter: Arc::new(ConnectionLimiter::new(limits.connections, Vec::new())),
        ..HttpServer::new(limits, None)
    })
    .await;
    let held = [running.connect_from(2).await, running.connect_from(2).await];
    let mut refused = running.connect_from(2).await;
    assert_eq!(rest(&mut refused).await, "");
    let mut other = running.connect_from(3).await;
    let asked = format!("{HEAD}Connection: close\r\n\r\n");
    other.write_all(asked.as_bytes()).await.expect("sent");
    assert!(rest(&mut other).await.starts_with("HTTP/1.1 200"));
    drop(held);
    running.stopped().await;
}

#[tokio::test]
async fn this_machine_may_take_every_connection() {
    let running = start(Limits {
        connections: 3,
        ..Limits::default()
    })
    .await;
    let held = [running.connect_from(2).await, running.connect_from(2).await];
    let mut third = running.connect_from(2).await;
    let asked = format!("{HEAD}Connection: close\r\n\r\n");
    third.write_all(asked.as_bytes()).await.expect("sent");
    assert!(rest(&mut third).await.starts_with("HTTP/1.1 200"));
    drop(held);
    running.stopped().await;
}

#[test]
fn a_trusted_proxy_may_take_every_connection_of_every_server() {
    let limits = Limits {
        connections: 8,
        ..Limits::default()
    };
    let proxies = vec![Network::parse("10.0.0.0/8").expect("a network")];
    let server = HttpServer::new(limits, None).behind(&proxies);
    for (server, maximum) in [(server.with_connections(4), 4), (server, 8)] {
        let held: Vec<_> = (0..9)
            .filter_map(|_| server.limiter.acquire([10, 0, 0, 1].into()))
            .collect();
        assert_eq!(held.len(), maximum);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_disconnected() {
    let running = start(quick()).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("sent");
    // the buffers on both sides are filled, and then no write makes progress
    stream.readable().await.expect("an answer begins");
    let began = Instant::now();
    running.stop.cancel();
    tokio::time::timeout(SOON, running.served)
        .await
        .expect("the connection ends")
        .expect("without a panic");
    assert!(
        began.elapsed() >= Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
    drop(stream);
}

#[tokio::test]
async fn a_stop_answers_open_requests_and_closes_connections_without_one() {
    let running = start(Limits::default()).await;
    let mut asking = running.connect().await;
    asking
        .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("sent");
    let _silent = running.connect().await;
    // both are accepted once a third is answered
    let mut third = running.connect().await;
    third
        .write_all(format!("{HEAD}Connection: close\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    rest(&mut third).await;
    let address = running.address;
    let began = Instant::now();
    running.stopped().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(rest(&mut asking).await.ends_with("slow"));
    assert!(TcpStream::connect(address).await.is_err());
}
