use std::time::{Duration, Instant};

/// Interval between checks of the condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds. `what` describes the condition for the panic message.
///
/// # Panics
/// If the condition does not hold within `deadline`.
pub async fn eventually(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
