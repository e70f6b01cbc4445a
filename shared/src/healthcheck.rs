//! `--healthcheck`: asks the instance on this machine that runs with the same configuration whether it is
//! ready.
//!
//! Without a runtime and without a client library: an image's health check runs every few seconds.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::tls;

/// How long everything may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// What is read of an answer.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// Where to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healthcheck {
    address: SocketAddr,
    tls: bool,
}

/// Why the instance does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// Port 0 is any port.
    #[error("port 0 is any free port; set a fixed one to check the health of an instance")]
    AnyPort,
    /// Nobody answers.
    #[error("{address} does not answer: {source}")]
    Unresponsive {
        /// Who was asked.
        address: SocketAddr,
        /// Why there is no answer.
        source: io::Error,
    },
    /// It answers that it is not ready.
    #[error("{address} is not ready: {answer}")]
    NotReady {
        /// Who was asked.
        address: SocketAddr,
        /// The first line and the body of what it answered.
        answer: String,
    },
}

impl Healthcheck {
    /// Asks who listens on `listen`: an instance that listens on every address is asked on the loopback one.
    pub fn new(listen: SocketAddr, tls: bool) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, listen.port());
        Self { address, tls }
    }

    /// Asks once, for a few seconds at most.
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
        let printable = |text: &str| text.chars().filter(|sign| !sign.is_control()).collect::<String>();
        let answer = format!("{} {}", printable(first), printable(body));
        Err(Unhealthy::NotReady { address, answer })
    }

    fn ask(&self, deadline: Instant) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect_timeout(&self.address, left(deadline)?)?;
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
            // a close without TLS's goodbye takes nothing from what was read
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(answer),
        }
    }
}

/// A stream whose reads and writes end at a deadline.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer).map_err(named)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(buffer).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The time until `deadline`.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// The system calls a read that took too long one that would block.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with `answer` and tells what was asked.
    fn once(answer: &'static str) -> (Healthcheck, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
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
    fn where_nobody_listens_nobody_is_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let why = Healthcheck::new(address, false).run().expect_err("nobody");
        assert!(matches!(why, Unhealthy::Unresponsive { .. }), "{why}");
        let why = Healthcheck::new(([127, 0, 0, 1], 0).into(), false)
            .run()
            .expect_err("no port");
        assert!(matches!(why, Unhealthy::AnyPort), "{why}");
    }

    #[test]
    fn one_that_accepts_and_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let check = Healthcheck::new(listener.local_addr().expect("an address"), true);
        let why = check
            .ask(Instant::now() + Duration::from_millis(50))
            .expect_err("no word");
        assert_eq!(why.kind(), io::ErrorKind::TimedOut);
    }
}
