//! x
use stateright::{Checker, Model};
use tasker_model::*;
fn probe(name: &str, config: Config) {
    let t = std::time::Instant::now();
    let c = config.checker().spawn_bfs().join();
    println!("{name}: {} states, depth {}, {:?}", c.unique_state_count(), c.max_depth(), t.elapsed());
    assert!(c.discoveries().is_empty());
}
#[test]
fn sizes() {
    use Fault::*;
    probe("1t 1f ", Config::new(1, &Fault::ALL, 1));
    probe("1t 2f ", Config::new(1, &Fault::ALL, 2));
    probe("1t 3f a", Config::new(1, &[LoseReply, Pause, CrashOfPostgres], 3));
    probe("1t 3f b", Config::new(1, &[LoseReply, Pause, Crash], 3));
    probe("1t 3f c", Config::new(1, &[Pause, CrashOfPostgres], 3));
    probe("1t 3f d", Config::new(1, &[Pause, CrashOfPostgres, GiveBack], 3));
    probe("2t 1f a", Config::new(2, &[Pause, CrashOfPostgres, LoseReply, Flush], 1));
    probe("2t 2f a", Config::new(2, &[Flush, LoseReply], 2));
}
