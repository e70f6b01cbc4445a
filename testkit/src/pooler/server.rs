//! A connection of the pooler to Postgres.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::sasl::Login;
use super::wire::{HEADER, Messages, PROTOCOL, length};

/// Where Postgres is, and as whom to go there.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
}

/// A statement that a client prepared.
#[derive(Debug)]
pub(super) struct Statement {
    /// The name that it has in Postgres, where no other may have it.
    pub(super) name: String,
    /// The message that prepares it, by that name.
    pub(super) parse: Vec<u8>,
}

/// What Postgres has yet to answer.
#[derive(Debug)]
pub(super) enum Due {
    /// That a statement of this name is prepared. The client hears of it only if it asked for that now.
    Prepared { name: String, asked: bool },
    /// That it is ready for the next message.
    Ready,
}

/// A connection to Postgres.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) replies: Messages,
    writer: OwnedWriteHalf,
    /// The statements that it knows.
    pub(super) prepared: HashSet<String>,
    pub(super) due: VecDeque<Due>,
    /// Whether messages were sent whose Sync is still to come.
    unsynced: bool,
}

impl Server {
    /// Opens a connection; also returns all that Postgres said to that.
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
                    // clients are greeted with the end of this conversation only
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

    /// Whether it knows the statement, or will when it comes to the next message.
    pub(super) fn knows(&self, statement: &str) -> bool {
        let coming = |due: &Due| matches!(due, Due::Prepared { name, .. } if name == statement);
        self.prepared.contains(statement) || self.due.iter().any(coming)
    }

    /// Takes note of a reply; answers whether the client is to have it.
    pub(super) fn heard(&mut self, reply: &[u8]) -> bool {
        match reply[0] {
            b'1' => match self.due.pop_front() {
                Some(Due::Prepared { name, asked }) => {
                    self.prepared.insert(name);
                    asked
                }
                _ => true,
            },
            b'Z' => {
                // after an error, what came before the Sync is skipped
                while let Some(Due::Prepared { .. }) = self.due.pop_front() {}
                true
            }
            _ => true,
        }
    }

    /// Whether, after this reply, it is in no transaction and owes nothing.
    pub(super) fn is_free(&self, reply: &[u8]) -> bool {
        reply[0] == b'Z' && reply[HEADER] == b'I' && self.due.is_empty() && !self.unsynced
    }
}

/// A startup message.
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
