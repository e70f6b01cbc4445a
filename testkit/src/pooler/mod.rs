mod sasl;
mod server;
mod wire;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::server::{Due, Server, Statement, Upstream};
use self::wire::{CANCEL_REQUEST, GSS_REQUEST, Messages, TLS_REQUEST, renamed, statement_named_in};

/// A transaction pooler before Postgres that behaves like `PgBouncer` since 1.21: a client has a backend only
/// during a transaction, and its prepared statements are prepared again on each backend. Ends when dropped.
///
/// It ignores the startup parameters of clients (user, database, application name) and cancel requests.
#[derive(Debug)]
pub struct Pooler {
    _accepting: AbortOnDropHandle<()>,
}

impl Pooler {
    /// Starts a pooler with at most `connections` backends of the Postgres at `url`; also returns the URL
    /// through it.
    ///
    /// # Panics
    /// If Postgres cannot be reached or rejects the login.
    pub async fn before_url(url: &str, connections: usize) -> (Self, String) {
        let mut url = url::Url::parse(url).expect("a URL");
        let host = url.host_str().expect("a host").to_owned();
        let upstream = tokio::net::lookup_host((host, url.port().unwrap_or(5432))).await;
        let upstream = upstream.ok().and_then(|mut found| found.next());
        let upstream = Upstream {
            address: upstream.expect("the host has an address"),
            user: url.username().to_owned(),
            password: url.password().unwrap_or_default().to_owned(),
            database: url.path().trim_start_matches('/').to_owned(),
        };
        let (server, greeting) = Server::open(&upstream)
            .await
            .expect("Postgres lets the pooler in");
        let pool = Arc::new(Pool {
            upstream,
            greeting,
            idle: Mutex::new(vec![server]),
            lendable: Arc::new(Semaphore::new(connections)),
            statements: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let port = listener.local_addr().expect("the port it was given").port();
        url.set_host(Some("127.0.0.1")).expect("a URL with a host");
        url.set_port(Some(port)).expect("a URL with a port");
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, pool)));
        let pooler = Self {
            _accepting: accepting,
        };
        (pooler, url.into())
    }
}

async fn accept(listener: TcpListener, pool: Arc<Pool>) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let pool = Arc::clone(&pool);
        // the error is dropped: a client that disconnects in a message is not a failure of the test
        clients.spawn(async move { drop(serve(stream, pool).await) });
        while clients.try_join_next().is_some() {}
    }
}

/// The state shared by all clients.
struct Pool {
    upstream: Upstream,
    /// The response of Postgres to a startup message, replayed to each client.
    greeting: Vec<u8>,
    idle: Mutex<Vec<Server>>,
    lendable: Arc<Semaphore>,
    /// Number of statements prepared so far, for unique names.
    statements: AtomicUsize,
}

impl Pool {
    async fn lend(&self) -> io::Result<Lent> {
        let permit = Arc::clone(&self.lendable).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let server = match idle {
            Some(server) => server,
            None => Server::open(&self.upstream).await?.0,
        };
        Ok(Lent {
            server,
            _permit: permit,
        })
    }

    fn take_back(&self, lent: Lent) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(lent.server);
    }
}

/// A backend connection assigned to a client; closed on drop, so an aborted transaction is not reused.
#[derive(Debug)]
struct Lent {
    server: Server,
    _permit: OwnedSemaphorePermit,
}

/// Serves one client until it disconnects.
async fn serve(mut stream: TcpStream, pool: Arc<Pool>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut startup = vec![0; stream.read_u32().await?.saturating_sub(4) as usize];
        stream.read_exact(&mut startup).await?;
        let code = startup.first_chunk().map(|code| u32::from_be_bytes(*code));
        match code {
            Some(TLS_REQUEST | GSS_REQUEST) => stream.write_all(b"N").await?,
            Some(CANCEL_REQUEST) | None => return Ok(()),
            Some(_) => break,
        }
    }
    stream.write_all(&pool.greeting).await?;
    let (reader, mut writer) = stream.into_split();
    let (mut requests, mut statements, mut lent) = (Messages::new(reader), HashMap::new(), None);
    loop {
        tokio::select! {
            request = requests.next() => {
                let request = request?;
                if request[0] == b'X' {
                    return Ok(());
                }
                if lent.is_none() {
                    lent = Some(pool.lend().await?);
                }
                if let Some(Lent { server, .. }) = &mut lent {
                    pass(request, server, &mut statements, &pool).await?;
                }
            }
            reply = reply(&mut lent) => {
                let (reply, wanted, free) = reply?;
                // returned before the client gets ReadyForQuery, so that its next transaction can reuse the
                // backend
                if free && let Some(lent) = lent.take() {
                    pool.take_back(lent);
                }
                if wanted {
                    writer.write_all(&reply).await?;
                }
            }
        }
    }
}

/// Returns the next reply of Postgres, true if it goes to the client, and true if the backend is free now.
async fn reply(lent: &mut Option<Lent>) -> io::Result<(Vec<u8>, bool, bool)> {
    let Some(Lent { server, .. }) = lent else {
        return std::future::pending().await;
    };
    let reply = server.replies.next().await?;
    let wanted = server.received(&reply);
    let free = server.is_free(&reply);
    Ok((reply, wanted, free))
}

/// Forwards a client's message. Renames its prepared statements to unique names, and prepares those that the
/// backend does not have.
async fn pass(
    request: Vec<u8>,
    server: &mut Server,
    statements: &mut HashMap<Vec<u8>, Statement>,
    pool: &Pool,
) -> io::Result<()> {
    let Some(at) = statement_named_in(&request) else {
        if request[0] == b'P' {
            let (name, asked) = (String::new(), true);
            server.due.push_back(Due::Prepared { name, asked });
        }
        return server.send(&request).await;
    };
    let key = request[at.clone()].to_vec();
    if request[0] == b'P' {
        let name = format!("pooled_{}", pool.statements.fetch_add(1, Ordering::Relaxed));
        let parse = renamed(&request, at, &name);
        let statement = statements.entry(key).insert_entry(Statement { name, parse });
        return server.prepare(statement.get(), true).await;
    }
    let Some(statement) = statements.get(&key) else {
        return server.send(&request).await;
    };
    let message = renamed(&request, at, &statement.name);
    if request[0] == b'C' {
        server.prepared.remove(&statement.name);
        statements.remove(&key);
    } else if !server.knows(&statement.name) {
        server.prepare(statement, false).await?;
    }
    server.send(&message).await
}

#[cfg(test)]
mod tests;
