//! `--healthcheck`: queries the readiness of the instance on this machine that runs with the same
//! configuration.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::redirect::Policy;
use tokio::runtime::Builder;

use crate::tls;

/// Maximum time of the whole check.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of bytes of a body that are shown.
const ANSWER_BYTES_MAX: usize = 4_096;

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
    #[error("{address} does not answer: {}", innermost(&**source))]
    Unresponsive {
        /// The queried address.
        address: SocketAddr,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The instance answers that it is not ready.
    #[error("{address} is not ready: {answer}")]
    NotReady {
        /// The queried address.
        address: SocketAddr,
        /// The status and the beginning of the body of its answer.
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
        self.run_within(TIMEOUT)
    }

    fn run_within(&self, timeout: Duration) -> Result<(), Unhealthy> {
        let address = self.address;
        if address.port() == 0 {
            return Err(Unhealthy::AnyPort);
        }
        // on a thread of its own: a caller may run within an async runtime, which must not be blocked on
        let asked = thread::scope(|scope| scope.spawn(|| self.ask(timeout)).join());
        let (status, body) = asked
            .unwrap_or_else(|panic| resume_unwind(panic))
            .map_err(|source| Unhealthy::Unresponsive { address, source })?;
        if status == StatusCode::OK {
            return Ok(());
        }
        // the answer is printed to a terminal, which control characters could manipulate
        let body: String = body.chars().filter(|sign| !sign.is_control()).collect();
        let answer = format!("{status} {body}");
        Err(Unhealthy::NotReady { address, answer })
    }

    /// Returns the status and the beginning of the body.
    fn ask(&self, timeout: Duration) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
        let client = tls::http_client()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(timeout)
            .user_agent("tasker-healthcheck")
            // the certificate of the instance may be issued for another name than loopback
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let scheme = if self.tls { "https" } else { "http" };
        let url = format!("{scheme}://{}/health/ready", self.address);
        Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(async {
                let mut response = client.get(url).send().await?;
                let mut body = Vec::new();
                while body.len() < ANSWER_BYTES_MAX
                    && let Some(chunk) = response.chunk().await?
                {
                    body.extend_from_slice(&chunk);
                }
                body.truncate(ANSWER_BYTES_MAX);
                Ok((response.status(), String::from_utf8_lossy(&body).into_owned()))
            })
    }
}

/// Returns the root cause of an error as text.
fn innermost(error: &(dyn Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    /// Answers one request with `answer` and returns the request.
    fn once(answer: &'static str) -> (Healthcheck, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = thread::spawn(move || {
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
            why.ends_with(r#"is not ready: 503 Service Unavailable {"status":"unavailable"}"#),
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
        let before = Instant::now();
        let why = check
            .run_within(Duration::from_millis(50))
            .expect_err("no answer");
        assert!(matches!(why, Unhealthy::Unresponsive { .. }), "{why}");
        assert!(before.elapsed() < TIMEOUT, "{why}");
    }

    #[tokio::test]
    async fn the_check_runs_within_an_async_runtime_too() {
        let (check, _) = once("HTTP/1.1 200 OK\r\n\r\n{}");
        check.run().expect("healthy");
    }
}
