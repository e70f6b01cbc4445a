//! Leader election: one server at a time runs the duties that are too expensive to run on every server.
//!
//! The lease is a row with a term, taken and renewed by compare-and-swap, on Postgres's clock alone. A killed
//! leader is replaced within `LEADER_TERM`; a leader that stops releases its lease. A leader that cannot
//! renew its lease stops its duties before the lease expires by its own clock, whose measurement began before
//! Postgres's. If two servers lead for a moment all the same, they repeat work but corrupt no state: every
//! duty consists of conditional statements.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_platform::telemetry::hostname;
use tasker_store::{self as store, ObservedPool, leader};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::duty::bounded;
use crate::duty_status::DutyStatus;

/// Time between two attempts to take the lease.
const CAMPAIGN_INTERVAL: Duration = Duration::from_secs(1);
/// Number of renewals within a term. With four, two failures in a row do not lose the lease.
const RENEWALS_PER_TERM: u32 = 4;

/// The candidacy of a server: it leads, or waits to.
#[derive(Debug)]
pub struct Leadership {
    db: ObservedPool,
    holder: String,
    term: Duration,
    status: Arc<DutyStatus>,
    /// True if the first attempt takes the lease even from another holder.
    seizes: bool,
}

impl Leadership {
    /// Creates a candidate named `holder`, whose leases last `term`.
    pub fn new(db: impl Into<ObservedPool>, holder: String, term: Duration) -> Self {
        Self {
            db: db.into(),
            holder,
            term,
            status: Arc::default(),
            seizes: false,
        }
    }

    /// Declares this server the only one, so that it takes the lease at start: another holder can only be its
    /// killed predecessor. If there is another server all the same, that one stops its duties at its next
    /// renewal and campaigns.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { seizes: true, ..self }
    }

    /// Records in `status` whether this server leads.
    #[must_use]
    pub fn reporting_to(self, status: Arc<DutyStatus>) -> Self {
        Self { status, ..self }
    }

    /// Campaigns and leads until `stop`. While this server leads, `duties` run; their token is cancelled when
    /// it loses the lease.
    pub async fn run<F>(mut self, duties: impl Fn(CancellationToken) -> F, stop: CancellationToken)
    where
        F: Future<Output = ()>,
    {
        show(None);
        while !stop.is_cancelled() {
            // taken before the statement is sent, so the lease never ends later here than in Postgres
            let began = Instant::now();
            match bounded(self.campaign()).await {
                Ok(Some(term)) => {
                    self.seizes = false;
                    self.lead(term, began, &duties, &stop).await;
                }
                Ok(None) => {}
                Err(error) => warn!(cause = %error, "leader: could not ask for the lease"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CAMPAIGN_INTERVAL) => {}
            }
        }
    }

    /// Asks for the lease; returns its term, `None` if another server holds it.
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
        info!(term, "leader: gained leadership");
        show(Some(term));
        metrics::counter!("tasker_leader_changes_total").increment(1);
        self.status.leads(true);
        let over = stop.child_token();
        let keep = async {
            self.keep(term, since, stop).await;
            over.cancel();
        };
        tokio::join!(keep, duties(over.clone()));
        self.status.leads(false);
        show(None);
        // after the duties have ended, so that the next leader does not overlap with them
        info!(term, "leader: lost leadership");
        if let Err(error) = bounded(leader::resign(&self.db, &self.holder, term)).await {
            warn!(
                cause = %error,
                "leader: could not release the lease; it expires at the end of its term"
            );
        }
    }

    /// Renews the lease until `stop`, or until it is lost.
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
            // a renewal that hangs ends with the pause, so that the check of the deadline below comes in time
            let renewed = store::bounded(
                pause,
                leader::renew(&self.db, &self.holder, term, self.term.as_secs_f64()),
            )
            .await;
            match renewed {
                Ok(true) => held_until = began + self.term,
                Ok(false) => return warn!(term, "leader: the lease expired or was taken by another server"),
                Err(error) => warn!(cause = %error, "leader: could not renew the lease"),
            }
            // the next renewal would come too late: stop the duties while the lease is still held
            if Instant::now() + pause >= held_until {
                return warn!(term, "leader: could not renew the lease in time");
            }
        }
    }
}

/// Sets the gauges of leadership; `term` is `None` while this server does not lead.
fn show(term: Option<i64>) {
    let leads = f64::from(u8::from(term.is_some()));
    // the host, not the id of this start: a label must not have a new value after each restart
    metrics::gauge!("leader_status", "worker_id" => hostname()).set(leads);
    #[expect(clippy::cast_precision_loss, reason = "a term is far below 2^52")]
    metrics::gauge!("tasker_leader_term").set(term.unwrap_or_default() as f64);
}
