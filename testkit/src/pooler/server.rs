//! A backend connection of the pooler to Postgres.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::sasl::Login;
use super::wire::{HEADER, Messages, PROTOCOL, length};

/// Address and login of Postgres.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
}

/// A prepared statement of a client.
#[derive(Debug)]
pub(super) struct Statement {
    /// Its name in Postgres, unique among all clients.
    pub(super) name: String,
    /// The Parse message with that name.
    pub(super) parse: Vec<u8>,
}

/// An outstanding reply of Postgres.
#[derive(Debug)]
pub(super) enum Due {
    /// ParseComplete of this statement; forwarded only if the client sent the Parse itself (`asked`).
    Prepared { name: String, asked: bool },
    /// ReadyForQuery.
    Ready,
}

/// A connection to Postgres.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) replies: Messages,
    writer: OwnedWriteHalf,
    /// Names of the statements prepared on it.
    pub(super) prepared: HashSet<String>,
    pub(super) due: VecDeque<Due>,
    /// True while messages were sent without a Sync after them.
    unsynced: bool,
}

impl Server {
    /// Opens a connection; also returns the replies of Postgres to the startup message.
    pub(super) async fn open(upstream: &Upstream) -> io::Result<(Self, Vec<u8>)> {
        let stream = TcpStream::connect(upstream.address).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        writer.write_all(&startup(upstream)).await?;
        let (mut replies, mut greeting) = (Messages::new(reader), Vec::new());
        let mut login = Login::new(&upstream.password);
        loop {
            let reply = replies.next().await?;
            match reply[0] {
                b'E' => return Err(io::Error::other(String::from_utf8_lossy(&reply).into_owned())),
                b'R' => {
                    if let Some(answer) = login.answer(&reply[HEADER..])? {
                        writer.write_all(&answer).await?;
                    }
                    // clients get only AuthenticationOk: they log in without a password
                    if reply[HEADER..] != [0; 4] {
                        continue;
                    }
                }
                _ => {}
            }
            greeting.extend(&reply);
            if reply[0] == b'Z' {
                break;
            }
        }
        let server = Self {
            replies,
            writer,
            prepared: HashSet::new(),
            due: VecDeque::new(),
            unsynced: false,
        };
        Ok((server, greeting))
    }

    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match message[0] {
            b'Q' | b'S' | b'F' => {
                self.due.push_back(Due::Ready);
                self.unsynced = false;
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => self.unsynced = true,
            _ => {}
        }
        self.writer.write_all(message).await
    }

    pub(super) async fn prepare(&mut self, statement: &Statement, asked: bool) -> io::Result<()> {
        let name = statement.name.clone();
        self.due.push_back(Due::Prepared { name, asked });
        self.send(&statement.parse).await
    }

    /// Returns true if the statement is prepared or will be before the next message is handled.
    pub(super) fn knows(&self, statement: &str) -> bool {
        let coming = |due: &Due| matches!(due, Due::Prepared { name, .. } if name == statement);
        self.prepared.contains(statement) || self.due.iter().any(coming)
    }

    /// Updates the state after a reply; returns true if the reply goes to the client.
    pub(super) fn received(&mut self, reply: &[u8]) -> bool {
        match reply[0] {
            b'1' => match self.due.pop_front() {
                Some(Due::Prepared { name, asked }) => {
                    self.prepared.insert(name);
                    asked
                }
                _ => true,
            },
            b'Z' => {
                // after an error Postgres skips all messages up to the Sync, so their replies never come
                while let Some(Due::Prepared { .. }) = self.due.pop_front() {}
                true
            }
            _ => true,
        }
    }

    /// Returns true if, after this reply, it is outside a transaction and no replies are outstanding.
    pub(super) fn is_free(&self, reply: &[u8]) -> bool {
        reply[0] == b'Z' && reply[HEADER] == b'I' && self.due.is_empty() && !self.unsynced
    }
}

/// Builds a startup message.
fn startup(upstream: &Upstream) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for text in [
        ("user", upstream.user.as_str()),
        ("database", &upstream.database),
        ("application_name", "pooler"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
    ] {
        body.extend([text.0.as_bytes(), &[0], text.1.as_bytes(), &[0]].concat());
    }
    body.push(0);
    [length(body.len()).as_slice(), &body].concat()
}
