//! Leadership: one server at a time carries out the duties that are too dear to be done by all.
//!
//! The lease is a row with a term, taken and prolonged by compare-and-swap, on Postgres's clock alone. A leader that is killed
//! is followed within `LEADER_TERM`, one that stops gives its lease up. A leader that cannot prolong its lease stops its duties
//! before the lease runs out by its own reckoning, which began before Postgres's. Should two lead for a moment all the same,
//! work is wasted and nothing is corrupted: every duty is a conditional statement.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_shared::store::{self, PgPool, leader};
use tasker_shared::telemetry::hostname;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::asked;
use super::journal::Journal;
use crate::error::describe;

/// How long others wait before they try to take the lease again.
const CAMPAIGN_INTERVAL: Duration = Duration::from_secs(1);
/// How often the lease is prolonged within its term, so that two failures in a row cost nothing.
const RENEWALS_PER_TERM: u32 = 4;

/// A server that leads, or waits to.
#[derive(Debug)]
pub struct Leadership {
    db: PgPool,
    holder: String,
    term: Duration,
    journal: Arc<Journal>,
    /// Whether the lease is taken at start whoever holds it.
    seizes: bool,
}

impl Leadership {
    /// A candidate named `holder`, whose leases last `term`.
    pub fn new(db: PgPool, holder: String, term: Duration) -> Self {
        Self {
            db,
            holder,
            term,
            journal: Arc::default(),
            seizes: false,
        }
    }

    /// The same for a server that is the only one: whoever holds the lease when it starts was itself, killed. Should there be
    /// another all the same, that one stops its duties when it next prolongs, and campaigns.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { seizes: true, ..self }
    }

    /// The same, and it notes in `journal` whether it leads.
    #[must_use]
    pub fn told_to(self, journal: Arc<Journal>) -> Self {
        Self { journal, ..self }
    }

    /// Campaigns and leads until `stop`. While it leads, `duties` run; their token is cancelled when it no longer does.
    pub async fn run<F>(mut self, duties: impl Fn(CancellationToken) -> F, stop: CancellationToken)
    where
        F: Future<Output = ()>,
    {
        show(None);
        while !stop.is_cancelled() {
            let began = Instant::now();
            match asked(self.campaign()).await {
                Ok(Some(term)) => {
                    self.seizes = false;
                    self.lead(term, began, &duties, &stop).await;
                }
                Ok(None) => {}
                Err(error) => warn!(cause = describe(&error), "leader: cannot campaign"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CAMPAIGN_INTERVAL) => {}
            }
        }
    }

    /// Asks for the lease.
    async fn campaign(&self) -> store::Result<Option<i64>> {
        let seconds = self.term.as_secs_f64();
        if self.seizes {
            leader::seize(&self.db, &self.holder, seconds).await.map(Some)
        } else {
            leader::campaign(&self.db, &self.holder, seconds).await
        }
    }

    async fn lead<F>(
        &self,
        term: i64,
        since: Instant,
        duties: &impl Fn(CancellationToken) -> F,
        stop: &CancellationToken,
    ) where
        F: Future<Output = ()>,
    {
        info!(term, "leader: this server leads");
        show(Some(term));
        metrics::counter!("tasker_leader_changes_total").increment(1);
        self.journal.leads(true);
        let over = stop.child_token();
        let keep = async {
            self.keep(term, since, stop).await;
            over.cancel();
        };
        tokio::join!(keep, duties(over.clone()));
        self.journal.leads(false);
        show(None);
        info!(term, "leader: this server leads no more");
        if let Err(error) = asked(leader::resign(&self.db, &self.holder, term)).await {
            warn!(
                cause = describe(&error),
                "leader: the lease was not given up and has to run out"
            );
        }
    }

    /// Prolongs the lease until `stop`, or until it is lost.
    async fn keep(&self, term: i64, since: Instant, stop: &CancellationToken) {
        let mut held_until = since + self.term;
        let pause = self.term / RENEWALS_PER_TERM;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let began = Instant::now();
            let renewed = store::bounded(
                pause,
                leader::renew(&self.db, &self.holder, term, self.term.as_secs_f64()),
            )
            .await;
            match renewed {
                Ok(true) => held_until = began + self.term,
                Ok(false) => return warn!(term, "leader: the lease is lost"),
                Err(error) => warn!(cause = describe(&error), "leader: the lease was not prolonged"),
            }
            if Instant::now() + pause >= held_until {
                return warn!(term, "leader: the lease could not be prolonged in time");
            }
        }
    }
}

/// Shows whether this server leads, and by which term.
fn show(term: Option<i64>) {
    let leads = f64::from(u8::from(term.is_some()));
    metrics::gauge!("leader_status", "instance" => hostname()).set(leads);
    #[expect(clippy::cast_precision_loss, reason = "a term is far below 2^52")]
    metrics::gauge!("tasker_leader_term").set(term.unwrap_or_default() as f64);
}
