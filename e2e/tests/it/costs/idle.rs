//! Nothing to do.

use std::time::Duration;

use super::meter::Meter;

/// How long nothing is done.
const WATCHED: Duration = Duration::from_secs(5);
/// Most statements of a server and two workers in a second, by design; they carry out about 7.
const STATEMENTS_PER_SECOND: u64 = 10;
/// What may happen to fall into the time.
const STATEMENTS_ONCE: u64 = 15;

#[tokio::test]
async fn invariant_11_an_idle_system_asks_postgres_ten_times_a_second_at_most() {
    let meter = Meter::start().await;
    let _worker = meter.system.worker(&[]).await;
    let bill = meter.measure(async || tokio::time::sleep(WATCHED).await).await;
    bill.assert_only(&[], &[]);
    let most = STATEMENTS_ONCE + STATEMENTS_PER_SECOND * bill.all.elapsed.as_secs();
    assert!(bill.statements_in_all() <= most, "{bill:#?}");
}
