//! Computes the number of workers that a queue needs from its rates.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::time::Duration;

use tasker_core::duration;
use tasker_store::scaling::QueueFacts;

use super::rates::{Rates, count, slot_seconds};

/// Maximum share of slots that arrivals may keep busy. Above it, uneven arrivals would have to wait.
const BUSY_SHARE: f64 = 0.8;
/// Assumed slots per worker if no live worker serves the queue: the default of `WORKER_POOL_SIZE`.
const POOL_SIZE: f64 = 10.0;
/// Maximum suggestion. A larger one would come from a measurement error rather than from load.
const WORKERS_MAX: f64 = 100_000.0;
/// Minimum time that a run counts for, in seconds.
const SLOT_SECONDS_MIN: f64 = 1e-6;

/// The advice for a queue, with its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// Its rates; `None` while there are too few samples.
    pub rates: Option<Rates>,
    /// Seconds until it is empty at these rates; `None` if it never is, or if they are unknown.
    pub time_to_drain_seconds: Option<f64>,
    /// Seconds for which a task occupies a slot; `None` if unknown.
    pub slot_seconds: Option<f64>,
    /// Number of workers with as many slots as the present ones that it needs.
    pub suggested_workers: i64,
    /// The reason as text for people.
    pub reason: String,
}

/// Returns the advice for the queue of `facts` with `backlog` waiting tasks, so that no task waits longer
/// than `target`.
pub fn advise(facts: &QueueFacts, backlog: i64, target: Duration) -> Advice {
    let rates = Rates::of(&facts.samples);
    let cost = slot_seconds(facts);
    let (suggested_workers, mut reason) = match (rates, cost) {
        _ if facts.paused => (facts.workers, PAUSED.to_owned()),
        (None, _) => (facts.workers.max(1), NOT_MEASURED.to_owned()),
        // comes before any computation: more workers of the same kind would claim none of these tasks either
        (Some(rates), _) if is_left_alone(facts, backlog, rates) => (
            facts.workers,
            format!("{backlog} wait, and none is claimed although slots are free: {EXPLAIN}."),
        ),
        (Some(rates), None) => without_cost(facts, backlog, rates),
        (Some(rates), Some((seconds, at_least))) => {
            let need = Need::new(facts, backlog, rates, seconds, at_least, target);
            (need.workers(), need.reason())
        }
    };
    let unroutable = facts.pending - facts.routable;
    if unroutable > 0 {
        let _ = write!(
            reason,
            " {unroutable} more wait whose types no live worker of the queue registers."
        );
    }
    Advice {
        rates,
        time_to_drain_seconds: time_to_drain(facts, backlog, rates),
        slot_seconds: cost.map(|(seconds, _)| seconds),
        suggested_workers,
        reason,
    }
}

/// Returns the advice for workers that register only some types of the queue. `facts` has the running tasks,
/// workers and slots of these types, and `backlog` of them wait. Arrivals are not measured by type, so the
/// advice follows from what waits and runs now.
pub fn advise_for_types(facts: &QueueFacts, backlog: i64, target: Duration) -> Advice {
    let cost = slot_seconds(facts);
    let (suggested_workers, reason) = match cost {
        _ if facts.paused => (facts.workers, PAUSED.to_owned()),
        _ if backlog == 0 && facts.running == 0 => (1, IDLE_TYPES.to_owned()),
        None => without_cost(facts, backlog, NOT_BY_TYPE),
        Some((seconds, at_least)) => {
            let need = Need::new(facts, backlog, NOT_BY_TYPE, seconds, at_least, target);
            (need.workers(), need.reason())
        }
    };
    Advice {
        rates: None,
        time_to_drain_seconds: (backlog == 0).then_some(0.0),
        slot_seconds: cost.map(|(seconds, _)| seconds),
        suggested_workers,
        reason,
    }
}

/// The rates of task types, which are not measured.
const NOT_BY_TYPE: Rates = Rates {
    window_seconds: 0.0,
    arrival: 0.0,
    drain: 0.0,
    slots_before: 0.0,
};
const PAUSED: &str = "The queue is paused: no number of workers claims from it until it is resumed.";
const NOT_MEASURED: &str = "The rates are not known yet: the server that leads measures every 10 s, and two measurements are \
                            needed. Ask again.";
const EXPLAIN: &str = "see GET /tasks/{id}/explain of one of them";
const IDLE_TYPES: &str = "No task of these types waits or runs: one worker is enough.";
const IDLE: &str = "No tasks wait and none arrive: one worker is enough.";

fn time_to_drain(facts: &QueueFacts, backlog: i64, rates: Option<Rates>) -> Option<f64> {
    if backlog == 0 {
        return Some(0.0);
    }
    if facts.paused || facts.workers == 0 {
        return None;
    }
    let net = rates.map(|rates| rates.drain - rates.arrival)?;
    (net > 0.0).then(|| count(backlog) / net)
}

/// Returns true if workers with free slots claim no task of a backlog that has waited for a while. More
/// workers would not help.
fn is_left_alone(facts: &QueueFacts, backlog: i64, rates: Rates) -> bool {
    let waited = facts.samples.last().is_some_and(|last| last.backlog > 0);
    let taken = facts.running > 0 || rates.drain > 0.0;
    backlog > 0 && waited && !taken && rates.slots_before < count(facts.slots)
}

/// Returns the suggestion for a queue in which no task ever finished and none runs.
fn without_cost(facts: &QueueFacts, backlog: i64, rates: Rates) -> (i64, String) {
    if backlog == 0 && rates.arrival <= 0.0 {
        return (1, IDLE.to_owned());
    }
    let reason = if facts.workers == 0 {
        format!(
            "No live worker serves the queue, {backlog} wait. How long a task takes is not known: begin with one worker."
        )
    } else {
        format!(
            "{backlog} wait, and none has finished yet: how long a task takes is not known. If that stays so, {EXPLAIN}."
        )
    };
    (facts.workers.max(1), reason)
}

/// The computation of the slots that a queue needs.
struct Need<'a> {
    facts: &'a QueueFacts,
    backlog: i64,
    rates: Rates,
    /// Seconds for which a task occupies a slot.
    seconds: f64,
    /// True if that is a lower bound, taken from runs in progress.
    at_least: bool,
    target: Duration,
}

impl<'a> Need<'a> {
    fn new(
        facts: &'a QueueFacts,
        backlog: i64,
        rates: Rates,
        seconds: f64,
        at_least: bool,
        target: Duration,
    ) -> Self {
        Self {
            facts,
            backlog,
            rates,
            seconds: seconds.max(SLOT_SECONDS_MIN),
            at_least,
            target,
        }
    }

    /// Returns the number of slots that tasks of this queue keep busy.
    ///
    /// Computed over the target, or over the duration of a task if that is shorter: arrivals within it need
    /// slots, the backlog has to start within the target, and a part of the present runs still runs then.
    /// Never more slots than tasks.
    fn own_slots(&self) -> f64 {
        let target = self.target.as_secs_f64();
        let horizon = self.seconds.min(target);
        let still_running = count(self.facts.running) * (1.0 - horizon / self.seconds);
        still_running + self.rates.arrival * horizon / BUSY_SHARE + count(self.backlog) * horizon / target
    }

    fn slots(&self) -> f64 {
        let before = if self.facts.workers > 0 {
            self.rates.slots_before
        } else {
            0.0
        };
        before + self.own_slots()
    }

    fn workers(&self) -> i64 {
        let each = if self.facts.workers > 0 && self.facts.slots > 0 {
            count(self.facts.slots) / count(self.facts.workers)
        } else {
            POOL_SIZE
        };
        // a rounding error just above a whole number must not suggest one more worker
        let workers = (self.slots() / each - 1e-9).ceil().clamp(1.0, WORKERS_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "it was brought into range")]
        let workers = workers as i64;
        workers
    }

    fn reason(&self) -> String {
        let Self {
            facts,
            backlog,
            rates,
            ..
        } = self;
        if self.own_slots() < 1e-3 && rates.slots_before < 1.0 {
            return IDLE.to_owned();
        }
        let pace = if rates.window_seconds > 0.0 {
            format!(
                "{:.1} arrive and {:.1} finish per second",
                rates.arrival, rates.drain
            )
        } else {
            "arrivals are not measured by type".to_owned()
        };
        let mut parts = Vec::new();
        let (now, suggested) = (facts.workers, self.workers());
        parts.push(match suggested.cmp(&now) {
            _ if now == 0 => "No live worker serves the queue.".to_owned(),
            Ordering::Less => "Fewer workers are enough.".to_owned(),
            Ordering::Equal => "The number of workers is right.".to_owned(),
            Ordering::Greater => format!("{} slots of {now} worker(s) are not enough.", facts.slots),
        });
        parts.push(format!(
            "{backlog} wait, {pace}, and a task occupies a slot for {}{}: that needs about {:.1} slots for a wait of at most {}.",
            if self.at_least { "at least " } else { "" },
            shown(self.seconds),
            self.own_slots(),
            duration::format(self.target),
        ));
        if now > 0 && rates.slots_before >= 0.1 {
            parts.push(format!(
                "Queues that these workers serve before it keep {:.1} more slots busy.",
                rates.slots_before
            ));
        }
        if self.seconds > self.target.as_secs_f64() {
            parts.push(
                "A task takes longer than the target, so each waiting task needs its own slot.".to_owned(),
            );
        }
        parts.join(" ")
    }
}

fn shown(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1_000.0)
    } else {
        format!("{seconds:.1} s")
    }
}

#[cfg(test)]
mod tests;
