//! Checks live workflows for what no statement leaves behind, and repairs it.
//!
//! Every repair is a fault of Tasker, or of who changed rows by hand: none is expected. See
//! [`tasker_store::steps::reconcile`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_core::task::TaskId;
use tasker_store::steps::reconcile::{self, Fault, Found, Target, Window};
use tasker_store::steps::stop::{self, EndsAs};
use tasker_store::{self as store, ObservedPool, retry_rolled_back};
use tracing::error;

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::hints::HintSender;
use crate::step_follow::follow;

/// Time between the checks of a round.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between rounds.
const ROUND_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of workflows per check, and of rows per repair.
const BATCH: i64 = 1_000;
/// Maximum number of joins or workflows that one transaction locks to count.
const COUNTED_AT_ONCE: usize = 100;
/// Time between checks of workflows with more than 10,000 steps.
const LARGE_INTERVAL: Duration = Duration::from_hours(1);

/// The duty that repairs workflows.
#[derive(Debug)]
pub struct Reconciler {
    db: ObservedPool,
    hints: Arc<dyn HintSender>,
    window: Window,
    /// The beginning of the last round that checked large workflows too.
    large_checked: Option<Instant>,
}

impl Reconciler {
    /// Creates the duty.
    pub fn new(db: impl Into<ObservedPool>, hints: Arc<dyn HintSender>) -> Self {
        Self {
            db: db.into(),
            hints,
            window: Window {
                after: None,
                limit: BATCH,
                large: false,
            },
            large_checked: None,
        }
    }

    /// Checks up to 1,000 workflows, from where the last run ended; returns the number of repairs.
    pub async fn run_once(&mut self, now: Instant) -> store::Result<usize> {
        if self.window.after.is_none() {
            self.window.large = self
                .large_checked
                .is_none_or(|checked| now.duration_since(checked) >= LARGE_INTERVAL);
            if self.window.large {
                self.large_checked = Some(now);
            }
        }
        let found = bounded(reconcile::find(&self.db, self.window)).await?;
        // before the repairs: a workflow that cannot be repaired must not keep the others from their turn
        self.window.after = found.up_to;
        self.repair(&found).await
    }

    /// Repairs what was found. Joins come first: opening one may end its workflow.
    async fn repair(&self, found: &Found) -> store::Result<usize> {
        let mut repairs = 0;
        for (fault, ids) in &found.faults {
            let repaired = match fault {
                Fault::JoinCount => self.recount(ids).await?,
                Fault::LostStep => self.reach(ids, Target::Step).await?,
                Fault::NoSteps => self.reach(ids, Target::End).await?,
                Fault::NoDeadLetters => self.give_up(ids).await?,
                Fault::FailedCount => self.recount_failed(ids).await?,
                Fault::OrphanJoins => self.delete_joins(ids).await?,
                Fault::OrphanSteps => self.cancel(ids).await?,
            };
            report(*fault, repaired, ids);
            repairs += repaired;
        }
        Ok(repairs)
    }

    async fn recount(&self, joins: &[TaskId]) -> store::Result<usize> {
        let mut repaired = 0;
        for joins in joins.chunks(COUNTED_AT_ONCE) {
            let (wrong, advance) = retry_rolled_back(|| {
                bounded(async {
                    let mut connection = self.db.acquire().await?;
                    reconcile::recount(&mut connection, joins).await
                })
            })
            .await?;
            repaired += wrong;
            follow(&self.db, &self.hints, advance).await?;
        }
        Ok(repaired)
    }

    async fn recount_failed(&self, workflows: &[TaskId]) -> store::Result<usize> {
        let mut repaired = 0;
        for workflows in workflows.chunks(COUNTED_AT_ONCE) {
            repaired += retry_rolled_back(|| {
                bounded(async {
                    let mut connection = self.db.acquire().await?;
                    reconcile::recount_failed(&mut connection, workflows).await
                })
            })
            .await?;
        }
        Ok(repaired)
    }

    async fn reach(&self, targets: &[TaskId], target: Target) -> store::Result<usize> {
        let advance = retry_rolled_back(|| bounded(reconcile::reach(&self.db, targets, target))).await?;
        let repaired = advance.ready.len() + advance.to_skip.len() + advance.over.len();
        follow(&self.db, &self.hints, advance).await?;
        Ok(repaired)
    }

    /// Marks workflows as stopped, so that the keeper ends them: they failed, and their dead letters are
    /// lost.
    async fn give_up(&self, workflows: &[TaskId]) -> store::Result<usize> {
        let mut repaired = 0;
        for workflow in workflows {
            let mark = bounded(stop::mark(&self.db, *workflow, EndsAs::Error, "steps_lost", None));
            repaired += usize::from(mark.await?);
        }
        Ok(repaired)
    }

    async fn delete_joins(&self, workflows: &[TaskId]) -> store::Result<usize> {
        // more of them are found in the next round
        let deleted = bounded(reconcile::delete_orphan_joins(&self.db, workflows, BATCH)).await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }

    /// Cancels steps of workflows that do not exist. Running ones are asked to stop.
    async fn cancel(&self, workflows: &[TaskId]) -> store::Result<usize> {
        let mut repaired = 0;
        for workflow in workflows {
            let pass = retry_rolled_back(|| bounded(stop::sweep(&self.db, *workflow, BATCH))).await?;
            repaired += pass.cancelled + pass.told + pass.dead_letters;
        }
        Ok(usize::try_from(repaired).unwrap_or(usize::MAX))
    }
}

/// Counts and logs repairs.
fn report(fault: Fault, repaired: usize, ids: &[TaskId]) {
    let kind = fault.as_str();
    metrics::counter!("tasker_workflow_repairs_total", "kind" => kind).increment(repaired as u64);
    if let (1.., Some(first)) = (repaired, ids.first()) {
        error!(kind, repaired, %first, "repaired workflows; this is a fault of Tasker unless rows were changed by hand");
    }
}

impl Duty for Reconciler {
    const NAME: &'static str = "reconciler";
    type Outcome = usize;

    async fn run(&mut self) -> Result<usize, DutyError> {
        Ok(self.run_once(Instant::now()).await?)
    }

    fn pause(&self, _: Option<&usize>) -> Duration {
        self.window.after.map_or(ROUND_INTERVAL, |_| INTERVAL)
    }
}
