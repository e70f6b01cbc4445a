//! A short chaos run. `TASKER_CHAOS_SEED` and `TASKER_CHAOS_SECONDS` change it; `./dev chaos` makes long
//! ones.

use std::path::PathBuf;
use std::time::Duration;

use tasker_e2e::chaos::{self, Settings};

/// Long enough to inject every kind of fault once.
const SECONDS: u64 = 55;

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the counts, and the seed of a failure, belong in its output"
)]
async fn nothing_is_lost_and_nothing_is_done_twice_while_everything_breaks() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    let seed = number("TASKER_CHAOS_SEED").unwrap_or(1);
    let settings = Settings {
        seed,
        length: Duration::from_secs(number("TASKER_CHAOS_SECONDS").unwrap_or(SECONDS)),
        logs: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}")),
    };
    println!(
        "TASKER_CHAOS_SEED={seed}; logs of a failure: {}",
        settings.logs.display()
    );
    let report = chaos::run(&settings).await;
    println!("{report}");
    assert!(
        report.violations.is_empty(),
        "TASKER_CHAOS_SEED={seed} is not clean"
    );
}
