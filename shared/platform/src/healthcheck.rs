//! `--healthcheck`: queries the readiness of the instance on this machine that runs with the same
//! configuration.
//!
//! Uses neither an async runtime nor an HTTP client: the health check of an image runs every few seconds.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::tls;

/// Maximum time of the whole check.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of bytes that are read of an answer.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// A health check of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healthcheck {
    address: SocketAddr,
    tls: bool,
}

/// The reason why an instance is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The configured port is 0, which is any free port.
    #[error("port 0 is any free port; set a fixed one to check the health of an instance")]
    AnyPort,
    /// The instance does not answer.
    #[error("{address} does not answer: {source}")]
    Unresponsive {
        /// The queried address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The instance answers that it is not ready.
    #[error("{address} is not ready: {answer}")]
    NotReady {
        /// The queried address.
        address: SocketAddr,
        /// The first line and the body of its answer.
        answer: String,
    },
}

impl Healthcheck {
    /// Creates a check of the instance that listens on `listen`, with the loopback address for an unspecified
    /// one.
    pub fn new(listen: SocketAddr, tls: bool) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, listen.port());
        Self { address, tls }
    }

    /// Queries the instance once, for at most a few seconds.
    pub fn run(&self) -> Result<(), Unhealthy> {
        let address = self.address;
        if address.port() == 0 {
            return Err(Unhealthy::AnyPort);
        }
        let answer = self
            .ask(Instant::now() + TIMEOUT)
            .map_err(|source| Unhealthy::Unresponsive { address, source })?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&*answer, ""));
        let first = head.lines().next().unwrap_or_default();
        if first.split(' ').nth(1) == Some("200") {
            return Ok(());
        }
        // the answer is printed to a terminal, which control characters could manipulate
        let printable = |text: &str| text.chars().filter(|sign| !sign.is_control()).collect::<String>();
        let answer = format!("{} {}", printable(first), printable(body));
        Err(Unhealthy::NotReady { address, answer })
    }

    fn ask(&self, deadline: Instant) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect_timeout(&self.address, remaining(deadline)?)?;
        // one deadline for every read and write: a timeout for each would let a slow peer add them up
        let timed = Timed { stream, deadline };
        if !self.tls {
            return self.exchange(timed);
        }
        let config = tls::loopback_client().map_err(io::Error::other)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        self.exchange(StreamOwned::new(connection, timed))
    }

    fn exchange(&self, mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
        let request = format!(
            "GET /health/ready HTTP/1.1\r\nHost: {}\r\nUser-Agent: tasker-healthcheck\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let mut answer = Vec::new();
        match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
            // a close without TLS close_notify; the bytes read so far are complete enough
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(answer),
        }
    }
}

/// A stream whose reads and writes fail after a deadline.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.deadline)?))?;
        self.stream.read(buffer).map_err(as_timeout)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(remaining(self.deadline)?))?;
        self.stream.write(buffer).map_err(as_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Returns the time until `deadline`, or an error after it.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(remaining)
}

/// Returns a timeout as such: the system reports a timed-out read as one that would block.
fn as_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with `answer` and returns the request.
    fn once(answer: &'static str) -> (Healthcheck, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1_024];
            let read = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("an answer");
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        (Healthcheck::new(everywhere, false), asked)
    }

    #[test]
    fn an_instance_that_listens_everywhere_is_asked_on_loopback_whether_it_is_ready() {
        let (check, asked) = once("HTTP/1.1 200 OK\r\n\r\n{}");
        check.run().expect("healthy");
        assert!(
            asked
                .join()
                .expect("asked")
                .starts_with("GET /health/ready HTTP/1.1\r\n")
        );
    }

    #[test]
    fn one_that_is_not_ready_says_why() {
        let (check, _) = once("HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\n{\"status\":\"unavailable\"}");
        let why = check.run().expect_err("not ready").to_string();
        assert!(
            why.ends_with(r#"is not ready: HTTP/1.1 503 Service Unavailable {"status":"unavailable"}"#),
            "{why}"
        );
    }

    #[test]
    fn an_address_without_a_listener_is_unhealthy() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let why = Healthcheck::new(address, false).run().expect_err("unhealthy");
        assert!(matches!(why, Unhealthy::Unresponsive { .. }), "{why}");
        let why = Healthcheck::new(([127, 0, 0, 1], 0).into(), false)
            .run()
            .expect_err("no port");
        assert!(matches!(why, Unhealthy::AnyPort), "{why}");
    }

    #[test]
    fn one_that_accepts_and_does_not_answer_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let check = Healthcheck::new(listener.local_addr().expect("an address"), true);
        let why = check
            .ask(Instant::now() + Duration::from_millis(50))
            .expect_err("no answer");
        assert_eq!(why.kind(), io::ErrorKind::TimedOut);
    }
}
