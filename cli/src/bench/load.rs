//! Closed-loop load: a number of connections that each send the next request after a response.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::http::Connection;

/// Time for outstanding responses after the end of the load.
const GRACE: Duration = Duration::from_secs(30);

/// The limits of a load; it ends at the first that is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connections: u32,
    pub(crate) requests: u64,
    pub(crate) duration: Duration,
}

/// The result of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Number of requests with status 202.
    pub(crate) accepted: u64,
    /// Number of requests with another status.
    pub(crate) refused: u64,
    /// Time from the first request to the last response, without connecting.
    pub(crate) elapsed: Duration,
    /// Response time of each request.
    pub(crate) answers: Vec<Duration>,
}

/// Repeats `request` within `bounds`.
pub(crate) async fn run(url: &Url, request: &[u8], bounds: Bounds) -> anyhow::Result<Outcome> {
    ensure!(
        url.scheme() == "http",
        "`tasker bench` supports only http URLs, not {}",
        url.scheme()
    );
    // before the clock starts: opening connections is not part of the measurement
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
    // a hung connection must not block the measurement for ever
    match timeout_at(end + GRACE, try_join_all(loops)).await {
        Ok(ended) => ended.context("a connection broke")?,
        Err(_) => bail!("no response within {} s", GRACE.as_secs()),
    };
    let elapsed = start.elapsed();
    Ok(Outcome {
        accepted: counts.accepted.get(),
        refused: counts.refused.get(),
        elapsed,
        answers: counts.answers.take(),
    })
}

/// The counters of a load, shared by its connections, which run on one thread.
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
        // one reading of the clock for both: the next request follows at once
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
