//! The cost of an idle system.

use std::time::Duration;

use super::meter::Meter;

/// Duration of the measurement.
const MEASURED_TIME: Duration = Duration::from_secs(5);
/// Maximum number of statements per second of a server and two workers by design; they run about 7.
const STATEMENTS_PER_SECOND: u64 = 10;
/// Maximum number of statements of rare duties that may fall into the measurement.
const STATEMENTS_ONCE: u64 = 15;

#[tokio::test]
async fn invariant_11_an_idle_system_asks_postgres_ten_times_a_second_at_most() {
    let meter = Meter::start().await;
    let _worker = meter.system.worker(&[]).await;
    let cost = meter
        .measure(async || tokio::time::sleep(MEASURED_TIME).await)
        .await;
    cost.assert_only(&[], &[]);
    let max = STATEMENTS_ONCE + STATEMENTS_PER_SECOND * cost.all.elapsed.as_secs();
    assert!(cost.statements_in_all() <= max, "{cost:#?}");
}
