use super::*;
use tasker_core::task::QueueName;
use tasker_store::scaling::Sample;

const TARGET: Duration = Duration::from_secs(30);

/// The rates of a queue with one worker of ten slots, as samples of a minute show them.
struct Pace {
    arrival: i64,
    drain: i64,
    task_seconds: f64,
    backlog: i64,
    running: i64,
}

const STEADY: Pace = Pace {
    arrival: 0,
    drain: 0,
    task_seconds: 0.0,
    backlog: 0,
    running: 0,
};

fn facts(pace: &Pace) -> QueueFacts {
    let samples = (0..7).map(|place| {
        let seconds = 10 * (6 - place);
        let ended = 1_000_000 - pace.drain * seconds;
        Sample {
            age_seconds: count(seconds),
            backlog: pace.backlog - (pace.arrival - pace.drain) * seconds,
            running: pace.running,
            running_before: 0,
            slots: 10,
            ended,
            busy_seconds: count(ended) * pace.task_seconds,
        }
    });
    QueueFacts {
        name: QueueName::default_class(),
        pending: 0,
        routable: 0,
        oldest_age_seconds: None,
        running: pace.running,
        running_seconds: None,
        paused: false,
        workers: 1,
        slots: 10,
        samples: samples.collect(),
    }
}

fn advice(pace: &Pace) -> Advice {
    advise(&facts(pace), pace.backlog, TARGET)
}

fn workers(pace: &Pace) -> i64 {
    advice(pace).suggested_workers
}

#[test]
fn what_comes_keeps_the_suggested_workers_four_fifths_busy() {
    // 160 a second of 0.1 s keep 16 slots busy, and 20 slots are two workers
    let steady = Pace {
        arrival: 160,
        drain: 160,
        task_seconds: 0.1,
        ..STEADY
    };
    assert_eq!(workers(&steady), 2);
    let more = Pace {
        arrival: 161,
        drain: 161,
        ..steady
    };
    assert_eq!(workers(&more), 3);
    assert_eq!(advice(&steady).time_to_drain_seconds, Some(0.0));
}

#[test]
fn a_backlog_is_to_be_gone_within_the_target() {
    // 9,000 tasks of a second in 30 s are 300 a second, which take 300 slots
    let burst = Pace {
        backlog: 9_000,
        task_seconds: 1.0,
        drain: 10,
        running: 10,
        ..STEADY
    };
    assert_eq!(workers(&burst), 30);
    assert_eq!(advice(&burst).time_to_drain_seconds, Some(900.0));
    let later = advise(&facts(&burst), burst.backlog, Duration::from_mins(5));
    assert_eq!(later.suggested_workers, 3);
}

#[test]
fn a_queue_that_grows_never_drains_and_says_so() {
    let growing = Pace {
        arrival: 20,
        drain: 10,
        task_seconds: 1.0,
        backlog: 6_000,
        running: 10,
    };
    let advice = advice(&growing);
    assert_eq!(advice.time_to_drain_seconds, None);
    assert_eq!(advice.suggested_workers, 23);
    assert!(
        advice
            .reason
            .starts_with("10 slots of 1 worker(s) are not enough."),
        "{}",
        advice.reason
    );
    assert!(
        advice.reason.contains("20.0 arrive and 10.0 finish"),
        "{}",
        advice.reason
    );
}

#[test]
fn tasks_longer_than_the_target_need_a_slot_each_and_never_more() {
    let long = Pace {
        backlog: 100,
        running: 10,
        ..STEADY
    };
    let mut facts = facts(&long);
    facts.samples.iter_mut().for_each(|sample| sample.ended = 0);
    facts.running_seconds = Some(600.0);
    let advice = advise(&facts, 100, TARGET);
    assert_eq!(advice.suggested_workers, 11);
    for part in ["at least 600.0 s", "longer than the target"] {
        assert!(advice.reason.contains(part), "{part}: {}", advice.reason);
    }
}

#[test]
fn the_horizon_makes_no_jump_where_a_task_takes_as_long_as_the_target() {
    let need = |task_seconds: f64| {
        let pace = Pace {
            backlog: 100,
            arrival: 1,
            drain: 1,
            task_seconds,
            running: 30,
        };
        let facts = facts(&pace);
        let rates = Rates::of(&facts.samples).expect("measured");
        Need::new(&facts, 100, rates, task_seconds, false, TARGET).own_slots()
    };
    assert!((need(29.999) - need(30.001)).abs() < 0.1);
}

#[test]
fn slots_that_earlier_queues_keep_busy_are_needed_beside_the_own_ones() {
    let pace = Pace {
        arrival: 40,
        drain: 40,
        task_seconds: 0.1,
        ..STEADY
    };
    let mut shared = facts(&pace);
    for sample in &mut shared.samples {
        sample.running_before = 9;
    }
    let advice = advise(&shared, 0, TARGET);
    assert_eq!(advice.suggested_workers, 2);
    assert!(advice.reason.contains("keep 9.0 more slots"), "{}", advice.reason);
}

#[test]
fn without_traffic_one_worker_is_enough() {
    let advice = advice(&STEADY);
    assert_eq!((advice.suggested_workers, advice.reason.as_str()), (1, IDLE));
    assert_eq!(advice.time_to_drain_seconds, Some(0.0));
}

#[test]
fn a_queue_without_workers_gets_some_by_what_its_tasks_took_before() {
    let mut unserved = facts(&Pace {
        task_seconds: 1.0,
        backlog: 900,
        ..STEADY
    });
    (unserved.workers, unserved.slots) = (0, 0);
    let advice = advise(&unserved, 900, TARGET);
    assert_eq!(
        (advice.suggested_workers, advice.time_to_drain_seconds),
        (3, None)
    );
    assert!(advice.reason.starts_with("No live worker"), "{}", advice.reason);
    unserved.samples.iter_mut().for_each(|sample| sample.ended = 0);
    let advice = advise(&unserved, 900, TARGET);
    assert_eq!(advice.suggested_workers, 1);
    assert!(advice.reason.starts_with("No live worker"), "{}", advice.reason);
}

#[test]
fn a_paused_queue_and_one_that_is_not_measured_keep_their_workers() {
    let mut paused = facts(&Pace {
        backlog: 900,
        ..STEADY
    });
    paused.paused = true;
    let advice = advise(&paused, 900, TARGET);
    assert_eq!((advice.suggested_workers, advice.reason.as_str()), (1, PAUSED));
    assert_eq!(advice.time_to_drain_seconds, None);
    let mut new = facts(&STEADY);
    new.samples.clear();
    let advice = advise(&new, 5, TARGET);
    assert_eq!(
        (advice.suggested_workers, advice.reason.as_str()),
        (1, NOT_MEASURED)
    );
}

#[test]
fn tasks_that_no_live_worker_can_run_need_no_more_of_them_and_are_reported() {
    let mut parked = facts(&STEADY);
    (parked.pending, parked.routable) = (7, 0);
    let advice = advise(&parked, parked.backlog(Some(0)), TARGET);
    assert_eq!(advice.suggested_workers, 1);
    assert!(
        advice
            .reason
            .ends_with("7 more wait whose types no live worker of the queue registers."),
        "{}",
        advice.reason
    );
}

#[test]
fn workers_of_some_types_are_advised_by_what_waits_and_runs_of_these() {
    let waiting = facts(&Pace {
        arrival: 500,
        drain: 500,
        backlog: 900,
        task_seconds: 1.0,
        ..STEADY
    });
    let advice = advise_for_types(&waiting, 600, TARGET);
    assert_eq!((advice.suggested_workers, advice.rates), (2, None));
    assert_eq!(advice.time_to_drain_seconds, None);
    assert!(
        advice.reason.contains("600 wait") && advice.reason.contains("not measured by type"),
        "{}",
        advice.reason
    );
    let idle = advise_for_types(&waiting, 0, TARGET);
    assert_eq!((idle.suggested_workers, idle.reason.as_str()), (1, IDLE_TYPES));
    assert_eq!(idle.time_to_drain_seconds, Some(0.0));
}

#[test]
fn tasks_that_no_worker_claims_lead_to_the_explanation_and_not_to_more_workers() {
    let stuck = advice(&Pace {
        backlog: 900,
        ..STEADY
    });
    assert_eq!(stuck.suggested_workers, 1);
    assert!(stuck.reason.contains("/explain"), "{}", stuck.reason);
}
