//! Keeps the lists of each queue in the form that its workers need: plain while all of them register the same
//! task types, split by type otherwise, with the hints of types that none of them registers parked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_core::task::{QueueName, TaskId};
use tasker_queue::{RedisQueues, Routing, Split};
use tasker_store::fleet::{Group, groups};
use tasker_store::{DeclaredQueues, ObservedPool};
use tracing::{info, warn};

use crate::duty::{Duty, bounded};
use crate::duty_status::DutyError;
use crate::fill::Filling;
use crate::leader_gauges::LeaderGauges;
use crate::sweep::Sweep;

/// Time between runs.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for which all workers of a queue must have registered the same types before it becomes plain again.
const UNIFORM: Duration = Duration::from_mins(1);
/// Time between the steps from split to plain: longer than any pop blocks.
const STEP: Duration = Duration::from_secs(2);
/// Time between sweeps of the lists of one queue.
const SWEEP: Duration = Duration::from_secs(10);

/// The live workers of a queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fleet {
    /// True if there are any.
    pub(crate) has_workers: bool,
    /// The task types that any of them registers.
    pub(crate) registered: BTreeSet<String>,
    /// True if some register types that others do not, and all can pop by type.
    pub(crate) is_mixed: bool,
}

impl Fleet {
    /// Returns the workers of `queue` among all.
    pub(crate) fn of(groups: &[Group], queue: &QueueName) -> Self {
        let serving = || groups.iter().filter(|group| group.queues.contains(queue));
        let registered: BTreeSet<String> = serving().flat_map(|group| group.task_names.clone()).collect();
        let knows_all = |group: &Group| registered.iter().all(|name| group.task_names.contains(name));
        Self {
            has_workers: serving().next().is_some(),
            is_mixed: !serving().all(knows_all) && serving().all(|group| group.pops_by_type),
            registered,
        }
    }

    /// Returns the types whose hints stay in the lists. `None` without live workers: all stay, since
    /// autoscalers read the lengths.
    pub(crate) fn routable(&self) -> Option<&BTreeSet<String>> {
        self.has_workers.then_some(&self.registered)
    }
}

/// The state of a queue that the last runs left.
#[derive(Debug, Default)]
struct Seen {
    uniform_since: Option<Instant>,
    stepped: Option<Instant>,
    /// The time of the last sweep of its parked hints, and the types that were registered then.
    parked_swept: Option<(Instant, BTreeSet<String>)>,
    lists_swept: Option<Instant>,
    /// True if the lists hold hints that are to be removed.
    unremoved: bool,
    unroutable: u64,
}

/// A step to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Split,
    Unsplit,
    ParkTypes,
    SweepParked,
    SweepLists,
}

impl Seen {
    /// Returns the steps that a queue needs at `now`, and records them as taken.
    fn steps(&mut self, now: Instant, fleet: &Fleet, routing: Routing) -> Vec<Step> {
        let since = |at: Option<Instant>, time| at.is_none_or(|at| now.saturating_duration_since(at) >= time);
        let mut steps = Vec::new();
        if fleet.is_mixed {
            self.uniform_since = None;
            if routing.split != Split::Split {
                steps.push(Step::Split);
            }
        } else {
            let uniform_since = *self.uniform_since.get_or_insert(now);
            // a rolling deployment mixes types for a while; the wait keeps the queue from switching back and
            // forth
            let uniform = now.saturating_duration_since(uniform_since) >= UNIFORM;
            if routing.split != Split::Plain && uniform && since(self.stepped, STEP) {
                self.stepped = Some(now);
                steps.push(Step::Unsplit);
            }
        }
        if routing.split == Split::Split && fleet.has_workers {
            steps.push(Step::ParkTypes);
        }
        if routing.unroutable > 0 {
            let swept = self.parked_swept.as_ref();
            // at once when the types changed, so that tasks of a new worker's types do not wait for the next
            // sweep
            let changed = swept.is_none_or(|(_, types)| *types != fleet.registered);
            if changed || !fleet.has_workers || since(swept.map(|(at, _)| *at), SWEEP) {
                self.parked_swept = Some((now, fleet.registered.clone()));
                steps.push(Step::SweepParked);
            }
        } else {
            self.parked_swept = None;
        }
        self.unremoved |= routing.unremoved > 0;
        if self.unremoved && since(self.lists_swept, SWEEP) {
            self.lists_swept = Some(now);
            self.unremoved = false;
            steps.push(Step::SweepLists);
        }
        steps
    }
}

/// The duty that routes hints by task type.
#[derive(Debug)]
pub struct Router {
    db: ObservedPool,
    redis: Arc<RedisQueues>,
    queues: DeclaredQueues,
    worker_timeout: Duration,
    /// A name that keeps the unfinished lists of this process apart from those of others.
    maker: String,
    seen: HashMap<QueueName, Seen>,
    gauges: LeaderGauges,
}

impl Router {
    /// Creates the duty for `queues`. A worker without a heartbeat for `worker_timeout` does not count as
    /// live.
    pub fn new(
        db: impl Into<ObservedPool>,
        redis: Arc<RedisQueues>,
        queues: impl Into<DeclaredQueues>,
        worker_timeout: Duration,
    ) -> Self {
        Self {
            db: db.into(),
            redis,
            queues: queues.into(),
            worker_timeout,
            maker: TaskId::generate().to_string(),
            seen: HashMap::new(),
            gauges: LeaderGauges::default(),
        }
    }

    /// Runs once at the time `now`.
    pub async fn run_once(&mut self, now: Instant) -> Result<(), DutyError> {
        let groups = bounded(groups(&self.db, self.worker_timeout.as_secs_f64())).await?;
        let queues = self.queues.snapshot();
        let routings = self.redis.routing(&queues).await?;
        for (queue, routing) in queues.iter().zip(&routings) {
            let fleet = Fleet::of(&groups, queue);
            let seen = self.seen.entry(queue.clone()).or_default();
            for step in seen.steps(now, &fleet, *routing) {
                self.take(step, queue, &fleet).await?;
            }
            self.report(queue, routing.unroutable);
        }
        let split: Vec<QueueName> = queues
            .iter()
            .zip(&routings)
            .filter(|(_, routing)| routing.split == Split::Split)
            .map(|(queue, _)| queue.clone())
            .collect();
        self.redis.balance(&split).await?;
        self.show(&queues, &routings);
        Ok(())
    }

    async fn take(&mut self, step: Step, queue: &QueueName, fleet: &Fleet) -> Result<(), DutyError> {
        let sweep = Sweep {
            db: &self.db,
            redis: &self.redis,
            queue,
        };
        match step {
            Step::Split => {
                let filling = Filling {
                    db: &self.db,
                    redis: &self.redis,
                    queue,
                    maker: &self.maker,
                    registered: fleet.routable(),
                };
                let Some(hints) = filling.type_lists().await? else {
                    return Ok(());
                };
                info!(%queue, hints, types = fleet.registered.len(), "split a queue by task type");
                // tasks claimed between reading the table and the last pop of the main list left stale hints;
                // by the next run no pop waits at the main list any more
                let seen = self.seen.entry(queue.clone()).or_default();
                (seen.unremoved, seen.lists_swept) = (true, None);
            }
            Step::Unsplit => self.redis.unsplit(queue).await?,
            Step::ParkTypes => {
                for task_name in self.redis.split_types(queue).await? {
                    if !fleet.registered.contains(&task_name) {
                        self.redis.park_type(queue, &task_name).await?;
                    }
                }
            }
            Step::SweepParked => {
                sweep.parked_hints(fleet.routable()).await?;
            }
            Step::SweepLists => {
                sweep.stale_hints().await?;
                sweep.parked_hints(fleet.routable()).await?;
            }
        }
        Ok(())
    }

    /// Logs when the first unroutable hint of a queue appears and when the last is gone.
    fn report(&mut self, queue: &QueueName, unroutable: u64) {
        let seen = self.seen.entry(queue.clone()).or_default();
        let before = std::mem::replace(&mut seen.unroutable, unroutable);
        if before == 0 && unroutable > 0 {
            warn!(%queue, tasks = unroutable, "parked tasks whose type no live worker of the queue registers");
        } else if before > 0 && unroutable == 0 {
            info!(%queue, "all parked tasks of the queue became routable or were removed");
        }
    }

    fn show(&mut self, queues: &[QueueName], routings: &[Routing]) {
        let named = || queues.iter().map(QueueName::as_str).zip(routings);
        #[expect(clippy::cast_precision_loss, reason = "a length is far below 2^52")]
        let unroutable = named().map(|(name, routing)| (name, routing.unroutable as f64));
        self.gauges
            .set_all("tasker_queue_unroutable", "queue", unroutable);
        let split = named().map(|(name, routing)| (name, f64::from(u8::from(routing.split == Split::Split))));
        self.gauges.set_all("tasker_queue_split", "queue", split);
    }
}

impl Duty for Router {
    const NAME: &'static str = "router";
    type Outcome = ();

    async fn run(&mut self) -> Result<(), DutyError> {
        self.run_once(Instant::now()).await
    }

    fn pause(&self, _: Option<&()>) -> Duration {
        INTERVAL
    }
}
