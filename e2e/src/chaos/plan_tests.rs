use std::collections::BTreeSet;

use super::*;

const LONG: Duration = Duration::from_mins(20);

#[test]
fn the_same_seed_makes_the_same_plan_and_another_one_another() {
    assert_eq!(plan(7, LONG), plan(7, LONG));
    assert_ne!(plan(7, LONG), plan(8, LONG));
}

#[test]
fn a_shorter_run_begins_like_a_longer_one() {
    let short = plan(7, Duration::from_secs(45));
    let kept = short.len().saturating_sub(5);
    assert_eq!(short[..kept], plan(7, LONG)[..kept]);
}

#[test]
fn every_fault_ends_in_time_and_no_target_has_two_at_once() {
    for seed in 0..50 {
        let events = plan(seed, LONG);
        assert!(events.iter().all(|event| event.at + event.lasts <= LONG));
        for (index, event) in events.iter().enumerate() {
            let later = events[index + 1..]
                .iter()
                .take_while(|later| later.at < event.at + event.lasts);
            for other in later {
                let shared = event
                    .fault
                    .targets()
                    .into_iter()
                    .find(|target| other.fault.targets().contains(target));
                assert_eq!(shared, None, "seed {seed}: {event:?} and {other:?}");
            }
        }
    }
}

#[test]
fn a_long_run_has_every_kind_of_fault() {
    let every: BTreeSet<String> = {
        let mut rng = StdRng::seed_from_u64(0);
        CARDS.iter().map(|card| card.draw(&mut rng).kind()).collect()
    };
    let kinds: BTreeSet<String> = plan(1, LONG).iter().map(|event| event.fault.kind()).collect();
    assert_eq!(kinds, every);
}
