//! A minimal HTTP/1.1 client for load: one keep-alive connection, prebuilt request bytes, and
//! responses parsed only for status and length.
//!
//! Load generator and system share the machine, so CPU time spent here is missing there. A full
//! client costs several times as much per request as the server does. This one parses only what
//! Tasker's server sends (`Content-Length`, no chunks).

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use tasker_client::Client;

/// Maximum length of a response head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Maximum length of a response body; that of a batch of 10,000 is far smaller.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The parsed head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    body_at: usize,
    body_bytes: usize,
}

/// A response that this client cannot parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("the response does not start with an HTTP/1.1 status line")]
    StatusLine,
    #[error("the response has no valid Content-Length")]
    Length,
    #[error("the response head is too long")]
    TooLong,
}

impl Connection {
    pub(crate) async fn open(url: &Url) -> io::Result<Self> {
        // `connect` takes IPv6 addresses without the brackets of a URL
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await?;
        // Nagle's algorithm would delay requests that do not fit into one segment
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends a whole request and returns the head of the response.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Head> {
        // requests are not pipelined, so the last response has been read completely
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(head) = parse_head(&self.buffer).map_err(io::Error::other)? {
                break head;
            }
            self.read_more().await?;
        };
        while self.buffer.len() < head.body_at + head.body_bytes {
            self.read_more().await?;
        }
        Ok(head)
    }

    /// Returns the body of the last response.
    pub(crate) fn body(&self, head: Head) -> &[u8] {
        self.buffer
            .get(head.body_at..head.body_at + head.body_bytes)
            .unwrap_or_default()
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Builds the bytes of a JSON POST with the credentials of `client`.
pub(crate) fn post(client: &Client, path: &str, body: &str) -> Vec<u8> {
    let url = client.base();
    let signed = client
        .authorization()
        .map(|text| format!("Authorization: {text}\r\n"))
        .unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let root = url.path().trim_end_matches('/');
    format!(
        "POST {root}{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n\
         {signed}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Parses the head at the start of `bytes`; `None` while it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, ParseError> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX {
            Err(ParseError::TooLong)
        } else {
            Ok(None)
        };
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| ParseError::StatusLine)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())
            .flatten()
    });
    Ok(Some(Head {
        status: status.ok_or(ParseError::StatusLine)?,
        body_at: end + 4,
        body_bytes: length
            .filter(|n| *n <= BODY_BYTES_MAX)
            .ok_or(ParseError::Length)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}";

    #[test]
    fn a_head_is_read_once_it_is_whole_wherever_the_reads_were_split() {
        let end = ANSWER.len() - 2;
        for cut in 0..end {
            assert_eq!(parse_head(&ANSWER[..cut]), Ok(None), "cut at {cut}");
        }
        let head = Head {
            status: 202,
            body_at: end,
            body_bytes: 2,
        };
        for cut in end..=ANSWER.len() {
            assert_eq!(parse_head(&ANSWER[..cut]), Ok(Some(head)), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let refused = |text: &str| parse_head(text.as_bytes()).expect_err("refused");
        assert_eq!(refused("SSH-2.0-x\r\n\r\n"), ParseError::StatusLine);
        assert_eq!(
            refused("HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n"),
            ParseError::StatusLine
        );
        assert_eq!(
            refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ParseError::Length
        );
        assert_eq!(
            refused("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
            ParseError::Length
        );
        assert_eq!(refused(&"x".repeat(HEAD_BYTES_MAX + 1)), ParseError::TooLong);
    }

    #[test]
    fn a_request_carries_host_length_and_the_base_path() {
        let url = Url::parse("http://127.0.0.1:8000/root/").expect("a URL");
        let client = Client::new(url, Some("Bearer x".to_owned())).expect("a client");
        let text = String::from_utf8(post(&client, "/tasks/submit", "{}")).expect("UTF-8");
        assert!(text.contains("\r\nAuthorization: Bearer x\r\n"));
        assert!(text.starts_with("POST /root/tasks/submit HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"));
        assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"));
    }

    #[tokio::test]
    async fn answers_in_pieces_and_several_on_one_connection_are_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0_u8; 4];
            for _ in 0..2 {
                stream.read_exact(&mut request).await.expect("a request");
                for piece in ANSWER.chunks(7) {
                    stream.write_all(piece).await.expect("written");
                    tokio::task::yield_now().await;
                }
            }
        });
        let url = Url::parse(&url).expect("a URL");
        let mut connection = Connection::open(&url).await.expect("connected");
        for _ in 0..2 {
            let head = connection.exchange(b"ping").await.expect("an answer");
            assert_eq!((head.status, connection.body(head)), (202, b"{}".as_slice()));
        }
        assert!(
            connection.exchange(b"ping").await.is_err(),
            "the server closed the connection"
        );
        server.await.expect("no panic");
    }
}
