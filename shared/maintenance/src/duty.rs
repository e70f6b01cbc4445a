//! The trait of the maintenance duties, and the loop that runs them.

use std::future::Future;
use std::time::Duration;

use tasker_store as store;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::duty_status::{DutyError, DutyRecorder};

/// A maintenance duty: a job that is done again and again, with a pause after each run.
pub trait Duty: Send {
    /// The name in status and metrics.
    const NAME: &'static str;
    /// True if the stop interrupts a run. Otherwise the stop waits for the end of the run.
    const INTERRUPTIBLE: bool = false;
    /// The result of a run.
    type Outcome: Send;

    /// Runs once. A failed run is tried again after [`Self::pause`].
    fn run(&mut self) -> impl Future<Output = Result<Self::Outcome, DutyError>> + Send;

    /// Logs what a run did.
    fn report(&self, _outcome: &Self::Outcome) {}

    /// Returns the time until the next run; `None` stands for a run that failed.
    fn pause(&self, outcome: Option<&Self::Outcome>) -> Duration;
}

/// Maximum duration of a statement of a duty. A connection that broke without a close would block it for
/// ever.
const STATEMENT_MAX: Duration = Duration::from_secs(10);

/// Runs a statement of a duty with `STATEMENT_MAX` as its timeout. On a timeout the run fails, and the next
/// run tries again.
pub(crate) async fn bounded<T>(statement: impl Future<Output = store::Result<T>>) -> store::Result<T> {
    store::bounded(STATEMENT_MAX, statement).await
}

/// Runs a duty until `stop`, and records each run.
pub(crate) async fn drive<D: Duty>(mut duty: D, recorder: DutyRecorder, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let run = recorder.record(duty.run());
        let outcome = if D::INTERRUPTIBLE {
            let Some(outcome) = stop.run_until_cancelled(run).await else {
                return;
            };
            outcome
        } else {
            run.await
        };
        if let Some(outcome) = &outcome {
            duty.report(outcome);
        }
        let pause = duty.pause(outcome.as_ref());
        stop.run_until_cancelled(sleep(pause)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt as _;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::DutyStatus;

    /// A duty whose first `failures` runs fail at once; each later run waits for a permit.
    struct Waiting<const INTERRUPTIBLE: bool> {
        failures: u32,
        permits: Arc<Semaphore>,
        ended: Arc<AtomicU32>,
    }

    impl<const INTERRUPTIBLE: bool> Duty for Waiting<INTERRUPTIBLE> {
        const NAME: &'static str = "waiting";
        const INTERRUPTIBLE: bool = INTERRUPTIBLE;
        type Outcome = ();

        async fn run(&mut self) -> Result<(), DutyError> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(store::Error::timed_out().into());
            }
            self.permits.acquire().await.expect("open").forget();
            self.ended.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }

        fn pause(&self, outcome: Option<&()>) -> Duration {
            outcome.map_or(Duration::ZERO, |()| Duration::from_hours(1))
        }
    }

    #[derive(Default)]
    struct Driven {
        status: Arc<DutyStatus>,
        stop: CancellationToken,
        ended: Arc<AtomicU32>,
    }

    impl Driven {
        async fn run<const INTERRUPTIBLE: bool>(&self, failures: u32, permits: Arc<Semaphore>) {
            let duty = Waiting::<INTERRUPTIBLE> {
                failures,
                permits,
                ended: Arc::clone(&self.ended),
            };
            drive(duty, self.status.recorder("waiting"), self.stop.clone()).await;
        }

        fn ended(&self) -> u32 {
            self.ended.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_end_of_a_run() {
        let (driven, permits) = (Driven::default(), Arc::new(Semaphore::new(0)));
        let mut driving = pin!(driven.run::<false>(0, Arc::clone(&permits)));
        assert!(driving.as_mut().now_or_never().is_none());
        driven.stop.cancel();
        assert!(driving.as_mut().now_or_never().is_none());
        permits.add_permits(1);
        driving.await;
        assert_eq!((driven.ended(), driven.status.runs().len()), (1, 1));
    }

    #[tokio::test]
    async fn a_stop_ends_an_interruptible_run_at_once_and_it_is_not_recorded() {
        let driven = Driven::default();
        let mut driving = pin!(driven.run::<true>(0, Arc::new(Semaphore::new(0))));
        assert!(driving.as_mut().now_or_never().is_none());
        driven.stop.cancel();
        driving.await;
        assert_eq!((driven.ended(), driven.status.runs().len()), (0, 0));
    }

    #[tokio::test]
    async fn a_failed_run_is_tried_again_and_a_stop_ends_the_pause() {
        let driven = Driven::default();
        let stopped = async {
            while driven.ended() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            driven.stop.cancel();
        };
        tokio::join!(driven.run::<false>(2, Arc::new(Semaphore::new(9))), stopped);
        let (_, runs) = driven.status.runs()[0];
        assert_eq!((driven.ended(), runs.count, runs.failures), (1, 3, 2));
    }
}
