//! Measures the rates of a queue and the cost of its tasks from samples.

use tasker_store::scaling::{QueueFacts, Sample};

/// Length of the window before the last sample over which rates are measured, in seconds.
const WINDOW_SECONDS: f64 = 60.0;
/// Tolerance for late timers, in seconds.
const LATE_SECONDS: f64 = 2.0;
/// Age of the last sample above which the rates are unknown, in seconds: no leader is sampling then.
const STALE_SECONDS: f64 = 60.0;

/// The rates of a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The length of the window over which the rates are measured.
    pub window_seconds: f64,
    /// Tasks per second that arrived.
    pub arrival: f64,
    /// Tasks per second whose runs ended.
    pub drain: f64,
    /// Average number of slots of its workers that queues of higher priority keep busy.
    pub slots_before: f64,
}

impl Rates {
    /// Returns the rates of the last minute; `None` without two samples, the last of which is recent.
    ///
    /// Arrivals are the ended runs plus the growth of waiting and running tasks. A negative sum, after
    /// waiting tasks were cancelled or a list was lost, counts as 0.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let window = window(samples)?;
        let (first, last) = (window.first()?, window.last()?);
        let seconds = first.age_seconds - last.age_seconds;
        if window.len() < 2 || seconds <= 0.0 {
            return None;
        }
        let drain = growth(window, ended) / seconds;
        let more = count(last.backlog + last.running) - count(first.backlog + first.running);
        let before: f64 = window.iter().map(|sample| count(sample.running_before)).sum();
        Some(Self {
            window_seconds: seconds,
            arrival: (drain + more / seconds).max(0.0),
            drain,
            slots_before: before / count(i64::try_from(window.len()).ok()?),
        })
    }
}

/// Returns the seconds for which a task occupies a slot, and true if that is only a lower bound.
pub(super) fn slot_seconds(facts: &QueueFacts) -> Option<(f64, bool)> {
    let samples = &facts.samples;
    let recent = window(samples).unwrap_or_default();
    // the most recent measurement that has a completed run wins; older ones may be of other tasks
    let mean = mean_busy(recent)
        .or_else(|| mean_busy(samples))
        .or_else(|| samples.last().and_then(mean_ever));
    match (mean, full_cost(recent)) {
        (Some(mean), Some(full)) => Some((mean.max(full), false)),
        (Some(seconds), None) | (None, Some(seconds)) => Some((seconds, false)),
        (None, None) => facts.running_seconds.map(|seconds| (seconds, true)),
    }
}

/// Returns the samples of the last minute, or those since the last sample before a gap.
fn window(samples: &[Sample]) -> Option<&[Sample]> {
    let last = samples.last().filter(|last| last.age_seconds <= STALE_SECONDS)?;
    let begins = last.age_seconds + WINDOW_SECONDS - LATE_SECONDS;
    let first = samples.iter().rposition(|sample| sample.age_seconds >= begins);
    samples.get(first.unwrap_or(0)..)
}

/// Returns the mean duration of the runs that ended between these samples.
fn mean_busy(samples: &[Sample]) -> Option<f64> {
    quotient(
        growth(samples, |sample| sample.busy_seconds),
        growth(samples, ended),
    )
}

/// Returns the mean duration of all runs ever.
fn mean_ever(sample: &Sample) -> Option<f64> {
    quotient(sample.busy_seconds, ended(sample))
}

/// Returns the slot time per task while all slots had work: its run plus claim and completion, which for
/// short tasks are the larger part.
fn full_cost(samples: &[Sample]) -> Option<f64> {
    let mut slot_seconds = 0.0;
    let mut tasks = 0.0;
    for pair in samples.windows(2) {
        if let [a, b] = pair
            && is_full(a)
            && is_full(b)
        {
            // the lower of the two ends: a worker that joined in between was not there all the time
            let slots = count(a.slots - a.running_before).min(count(b.slots - b.running_before));
            slot_seconds += slots.max(0.0) * (a.age_seconds - b.age_seconds);
            tasks += growth(pair, ended);
        }
    }
    quotient(slot_seconds, tasks)
}

/// Returns true if the backlog fills all slots and at least half of them are in use. With fewer in use,
/// something other than capacity keeps the slots from the backlog.
fn is_full(sample: &Sample) -> bool {
    let used = sample.running + sample.running_before;
    sample.slots > 0 && sample.backlog >= sample.slots && 2 * used >= sample.slots
}

/// Returns the growth of a total. A decrease counts as 0: two leaders sampled at once.
fn growth(samples: &[Sample], total: impl Fn(&Sample) -> f64) -> f64 {
    let steps = samples.windows(2).map(|pair| match pair {
        [a, b] => (total(b) - total(a)).max(0.0),
        _ => 0.0,
    });
    steps.sum()
}

fn ended(sample: &Sample) -> f64 {
    count(sample.ended)
}

fn quotient(seconds: f64, tasks: f64) -> Option<f64> {
    (tasks > 0.0).then(|| seconds / tasks)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(super) fn count(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns samples 10 s apart, the last of them now.
    pub(in crate::scaling) fn samples(each: impl Fn(usize) -> Sample, number: usize) -> Vec<Sample> {
        (0..number)
            .map(|place| Sample {
                age_seconds: 10.0 * count(i64::try_from(number - 1 - place).expect("few")),
                ..each(place)
            })
            .collect()
    }

    pub(in crate::scaling) const IDLE: Sample = Sample {
        age_seconds: 0.0,
        backlog: 0,
        running: 0,
        running_before: 0,
        slots: 10,
        ended: 0,
        busy_seconds: 0.0,
    };

    fn number(place: usize) -> i64 {
        i64::try_from(place).expect("small")
    }

    #[test]
    fn what_came_is_what_ended_and_what_more_is_here() {
        let grows = |place| Sample {
            backlog: 50 * number(place),
            running: 10,
            ended: 1_000 + 200 * number(place),
            ..IDLE
        };
        let rates = Rates::of(&samples(grows, 31)).expect("measured");
        assert_eq!(
            (rates.drain, rates.arrival, rates.window_seconds),
            (20.0, 25.0, 60.0)
        );
    }

    #[test]
    fn only_the_last_minute_counts_unless_it_has_no_sample() {
        let busy_once = |place| Sample {
            ended: if place < 10 { 0 } else { 5_000 },
            ..IDLE
        };
        assert_eq!(
            Rates::of(&samples(busy_once, 31)).map(|rates| rates.drain),
            Some(0.0)
        );
        let mut gap = samples(busy_once, 31);
        gap.drain(5..30);
        let rates = Rates::of(&gap).expect("measured");
        assert_eq!((rates.window_seconds, rates.drain), (260.0, 5_000.0 / 260.0));
    }

    #[test]
    fn cancelled_tasks_and_two_leaders_make_no_rate_negative() {
        let cancelled = |place| Sample {
            backlog: 1_000 - 100 * number(place),
            ended: if place == 3 { 0 } else { 7 },
            ..IDLE
        };
        let rates = Rates::of(&samples(cancelled, 7)).expect("measured");
        assert!(rates.arrival.abs() < 1e-9 && rates.drain >= 0.0, "{rates:?}");
    }

    #[test]
    fn a_single_sample_and_old_ones_give_no_rates() {
        assert_eq!(Rates::of(&samples(|_| IDLE, 1)), None);
        assert_eq!(Rates::of(&[]), None);
        let old = samples(|_| IDLE, 7).into_iter().map(|sample| Sample {
            age_seconds: sample.age_seconds + 61.0,
            ..sample
        });
        assert_eq!(Rates::of(&old.collect::<Vec<_>>()), None);
    }

    fn facts(samples: Vec<Sample>, running_seconds: Option<f64>) -> QueueFacts {
        QueueFacts {
            name: tasker_core::task::QueueName::default_class(),
            pending: 0,
            routable: 0,
            oldest_age_seconds: None,
            running: 0,
            running_seconds,
            paused: false,
            workers: 1,
            slots: 10,
            samples,
        }
    }

    #[test]
    fn a_task_costs_what_its_run_took_or_what_a_full_worker_made_of_it() {
        let steady = |place| Sample {
            ended: 10 * number(place),
            busy_seconds: 5.0 * f64::from(u32::try_from(place).expect("small")),
            ..IDLE
        };
        assert_eq!(slot_seconds(&facts(samples(steady, 7), None)), Some((0.5, false)));
        // ten slots are full and complete one task per second, whose run takes a tenth of a second
        let full = |place| Sample {
            backlog: 500,
            running: 8,
            ended: 10 * number(place),
            busy_seconds: f64::from(u32::try_from(place).expect("small")),
            ..IDLE
        };
        assert_eq!(slot_seconds(&facts(samples(full, 7), None)), Some((10.0, false)));
    }

    #[test]
    fn slots_that_stand_idle_beside_a_backlog_cost_nothing() {
        let kept_away = |place| Sample {
            backlog: 500,
            running: 1,
            ended: 10 * number(place),
            busy_seconds: 10.0 * f64::from(u32::try_from(place).expect("small")),
            ..IDLE
        };
        assert_eq!(
            slot_seconds(&facts(samples(kept_away, 7), None)),
            Some((1.0, false))
        );
    }

    #[test]
    fn where_nothing_ended_lately_older_ends_count_and_then_what_runs() {
        let once = |place| Sample {
            ended: if place < 10 { 0 } else { 4 },
            busy_seconds: if place < 10 { 0.0 } else { 8.0 },
            ..IDLE
        };
        assert_eq!(slot_seconds(&facts(samples(once, 31), None)), Some((2.0, false)));
        let long_ago = |_| Sample {
            ended: 4,
            busy_seconds: 12.0,
            ..IDLE
        };
        assert_eq!(
            slot_seconds(&facts(samples(long_ago, 31), Some(9.0))),
            Some((3.0, false))
        );
        assert_eq!(
            slot_seconds(&facts(samples(|_| IDLE, 7), Some(9.0))),
            Some((9.0, true))
        );
        assert_eq!(slot_seconds(&facts(samples(|_| IDLE, 7), None)), None);
    }
}
