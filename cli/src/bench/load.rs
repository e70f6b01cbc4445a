//! Closed-loop load: so many connections, each sending its next request when the last is answered.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::http::Connection;

/// How long an answer may outlast the end of the load.
const GRACE: Duration = Duration::from_secs(30);

/// How much to send; whichever ends first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connections: u32,
    pub(crate) requests: u64,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Requests answered 202.
    pub(crate) accepted: u64,
    /// Requests answered otherwise.
    pub(crate) refused: u64,
    /// From the first request, all connections being open, to the last answer.
    pub(crate) elapsed: Duration,
    /// How long each answer took.
    pub(crate) answers: Vec<Duration>,
}

/// Sends `request` again and again within `bounds`.
pub(crate) async fn run(url: &Url, request: &[u8], bounds: Bounds) -> anyhow::Result<Outcome> {
    ensure!(
        url.scheme() == "http",
        "the load lines speak plain HTTP only, not {}",
        url.scheme()
    );
    let opened = (0..bounds.connections).map(|_| Connection::open(url));
    let connections = try_join_all(opened)
        .await
        .with_context(|| format!("cannot connect to {url}"))?;
    let counts = Counts::new(bounds.requests);
    let start = Instant::now();
    let end = start + bounds.duration;
    let loops = connections
        .into_iter()
        .map(|connection| send(connection, request, &counts, end));
    match timeout_at(end + GRACE, try_join_all(loops)).await {
        Ok(ended) => ended.context("a connection broke")?,
        Err(_) => bail!("no answer within {} s", GRACE.as_secs()),
    };
    let elapsed = start.elapsed();
    Ok(Outcome {
        accepted: counts.accepted.get(),
        refused: counts.refused.get(),
        elapsed,
        answers: counts.answers.take(),
    })
}

/// Shared by the loops, which run on one thread.
struct Counts {
    left: Cell<u64>,
    accepted: Cell<u64>,
    refused: Cell<u64>,
    answers: RefCell<Vec<Duration>>,
}

impl Counts {
    fn new(requests: u64) -> Self {
        Self {
            left: Cell::new(requests),
            accepted: Cell::new(0),
            refused: Cell::new(0),
            answers: RefCell::default(),
        }
    }

    fn take(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

async fn send(
    mut connection: Connection,
    request: &[u8],
    counts: &Counts,
    end: Instant,
) -> std::io::Result<()> {
    let mut sent_at = Instant::now();
    while sent_at < end && counts.take() {
        let head = connection.exchange(request).await?;
        let answered_at = Instant::now();
        counts.answers.borrow_mut().push(answered_at - sent_at);
        sent_at = answered_at;
        let count = if head.status == 202 {
            &counts.accepted
        } else {
            &counts.refused
        };
        count.set(count.get() + 1);
    }
    Ok(())
}
