//! From the pace of a queue to the workers that it needs.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::time::Duration;

use tasker_shared::config::duration;
use tasker_shared::store::scaling::QueueFacts;

use super::rates::{Rates, count, slot_seconds};

/// How busy what comes may keep the slots: fuller ones let tasks wait whenever they come unevenly.
const BUSY_SHARE: f64 = 0.8;
/// Slots of a worker where there is none to look at: the default of `WORKER_POOL_SIZE`.
const POOL_SIZE: f64 = 10.0;
/// No suggestion is larger: what leads there is no load but a mistake in it.
const WORKERS_MAX: f64 = 100_000.0;
/// Shorter runs count as so long, in seconds.
const SLOT_SECONDS_MIN: f64 = 1e-6;

/// What a queue needs, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// Its pace; nothing while it is not measured.
    pub rates: Option<Rates>,
    /// When it is empty at that pace; nothing if never, or not known.
    pub time_to_drain_seconds: Option<f64>,
    /// How long a task keeps a slot, as far as known.
    pub slot_seconds: Option<f64>,
    /// Workers like the present ones that it needs.
    pub suggested_workers: i64,
    /// Why, in words.
    pub reason: String,
}

/// What the queue of `facts`, in which `backlog` tasks wait, needs so that no task waits longer than `target`.
pub fn advise(facts: &QueueFacts, backlog: i64, target: Duration) -> Advice {
    let rates = Rates::of(&facts.samples);
    let cost = slot_seconds(facts);
    let (suggested_workers, mut reason) = match (rates, cost) {
        _ if facts.paused => (facts.workers, PAUSED.to_owned()),
        (None, _) => (facts.workers.max(1), NOT_MEASURED.to_owned()),
        (Some(rates), _) if is_left_alone(facts, backlog, rates) => (
            facts.workers,
            format!("Of {backlog} that wait, none is taken while slots are free: {EXPLAIN}."),
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

/// Advice for workers that register only some types of the queue. `facts` has the running tasks, workers and slots of these types,
/// and `backlog` of them wait. Arrivals are not measured by type, so the advice follows from what waits and runs now.
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

/// Rates that nothing measures.
const NOT_BY_TYPE: Rates = Rates {
    window_seconds: 0.0,
    arrival: 0.0,
    drain: 0.0,
    slots_before: 0.0,
};
const PAUSED: &str =
    "The queue is paused: until it is resumed nothing is taken from it, by any number of workers.";
const NOT_MEASURED: &str = "The rates are not known yet: the server that leads measures every 10 s, and two measurements are \
                            needed. Ask again.";
const EXPLAIN: &str = "GET /tasks/{id}/explain of one of them tells why";
const IDLE_TYPES: &str = "No task of these types waits or runs: one worker is enough.";
const IDLE: &str = "Nothing waits and nothing comes: one worker is enough.";

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

/// Whether workers with free slots take nothing of what has waited for a while: more of them would not either.
fn is_left_alone(facts: &QueueFacts, backlog: i64, rates: Rates) -> bool {
    let waited = facts.samples.last().is_some_and(|last| last.backlog > 0);
    let taken = facts.running > 0 || rates.drain > 0.0;
    backlog > 0 && waited && !taken && rates.slots_before < count(facts.slots)
}

/// Where no task ever ended and none runs.
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
            "{backlog} wait, and none has ended yet: how long a task takes is not known. If that stays so, {EXPLAIN}."
        )
    };
    (facts.workers.max(1), reason)
}

/// What a queue needs, in slots.
struct Need<'a> {
    facts: &'a QueueFacts,
    backlog: i64,
    rates: Rates,
    /// How long a task keeps a slot.
    seconds: f64,
    /// Whether that is the least that it can be.
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

    /// Slots that tasks of this queue keep busy.
    ///
    /// Looked at over the target, or over the time of a task where that is shorter: what comes within it needs a slot, what
    /// waits has to begin within the target, and of what runs now a part still runs then. Never more slots than tasks.
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
        // a sum that comes out a hair above a whole number is that number
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
            format!("{:.1} come and {:.1} end in a second", rates.arrival, rates.drain)
        } else {
            "what comes is not measured by type".to_owned()
        };
        let mut parts = Vec::new();
        let (now, suggested) = (facts.workers, self.workers());
        parts.push(match suggested.cmp(&now) {
            _ if now == 0 => "No live worker serves the queue.".to_owned(),
            Ordering::Less => "Fewer workers are enough.".to_owned(),
            Ordering::Equal => "The workers are as many as needed.".to_owned(),
            Ordering::Greater => format!("{} slots of {now} worker(s) are not enough.", facts.slots),
        });
        parts.push(format!(
            "{backlog} wait, {pace}, and a task keeps a slot for {}{}: that needs about {:.1} slots for a wait of at most {}.",
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
                "A task takes longer than the target, so each that waits needs a slot of its own.".to_owned(),
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
