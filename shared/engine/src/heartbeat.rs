//! Heartbeats: report this worker as alive, return the number of workers that share its queues, and requeue
//! runs whose claim response was lost. [`crate::liveness`] schedules them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::counter;
use tasker_store::end_runs::Ended;
use tasker_store::liveness::Session;
use tasker_store::workers::Work;
use tasker_store::{self as store, recover, steps, workers};
use tokio::runtime::Handle;
use tracing::warn;

use crate::availability::Availability;
use crate::hints::Hints;
use crate::in_flight::InFlight;
use crate::queue_counters::QueueCounters;
use crate::settings::Settings;
use crate::stops::Stops;

/// The number of workers that share a queue with this one, of the last heartbeat.
#[derive(Debug)]
pub(crate) struct Sharing(AtomicUsize);

/// The facts that a heartbeat reports, and the parts that its answer reaches.
pub(crate) struct Beats {
    pub(crate) settings: Arc<Settings>,
    pub(crate) stops: Stops,
    pub(crate) postgres: Arc<Availability>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) hints: Hints,
    pub(crate) queue_counters: Arc<QueueCounters>,
    pub(crate) sharing: Arc<Sharing>,
}

impl Default for Sharing {
    fn default() -> Self {
        Self(AtomicUsize::new(1))
    }
}

impl Sharing {
    /// Returns the number of live workers that share a queue with this one, itself included.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed).max(1)
    }
}

/// Requeues runs of this worker that are not in flight: the responses to their claims were lost. To be called
/// before the heartbeat, which moves the time up to which claims count as lost.
pub(crate) async fn requeue_lost_claims(beats: &Beats, session: &mut Session, main: &Handle) {
    match lost_claims(beats, session).await {
        Ok(ended) if ended.is_empty() => {}
        Ok(ended) => {
            warn!(runs = ended.len(), "requeued runs whose claim response was lost");
            counter!("tasker_lost_claim_runs_total").increment(ended.len() as u64);
            let hints = beats.hints.clone();
            // on the main runtime, where the Redis connections live; not awaited, since that runtime may be
            // blocked
            beats.stops.shutdown.tracker().clone().spawn_on(
                async move {
                    hints.return_pending(ended).await;
                },
                main,
            );
        }
        // the next heartbeat repeats this, and the one that follows now shows if Postgres is available
        Err(error) => warn!(%error, "failed to requeue runs whose claim response was lost"),
    }
}

/// Requeues the lost claims of plain tasks and of steps.
async fn lost_claims(beats: &Beats, session: &mut Session) -> store::Result<Vec<Ended>> {
    let (worker_id, in_flight) = (&beats.settings.worker_id, beats.in_flight.all());
    let mut ended = recover::reclaim_lost_claims(session.executor(), worker_id, &in_flight).await?;
    // a requeued run ends no step, so no workflow advances
    let steps = steps::reclaim_lost_claims(session.executor(), worker_id, &in_flight).await?;
    ended.extend(steps.ended);
    Ok(ended)
}

/// Writes one heartbeat and applies its answer: Postgres is available, or this worker was declared dead.
pub(crate) async fn beat(beats: &Beats, session: &mut Session) -> store::Result<workers::Heartbeat> {
    let totals = beats.queue_counters.totals();
    let work = Work {
        active: i32::try_from(beats.in_flight.len()).unwrap_or(i32::MAX),
        ended: &totals.ended,
        busy_seconds: &totals.busy_seconds,
    };
    let timeout = beats.settings.worker_timeout.as_secs_f64();
    let heartbeat = workers::heartbeat(session.executor(), &beats.settings.worker_id, work, timeout).await?;
    if heartbeat.alive {
        let sharing = usize::try_from(heartbeat.sharing).unwrap_or(1);
        beats.sharing.0.store(sharing, Ordering::Relaxed);
        beats.postgres.mark_available();
    } else {
        beats.stops.declare_dead();
    }
    Ok(heartbeat)
}
