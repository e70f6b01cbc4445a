/// The way tasks get from the server to the workers (`DISPATCH_MODE`, alias `TASKER_DEPLOYMENT_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchMode {
    /// Wake-up hints in Redis, with Postgres as the polling fallback.
    Hybrid,
    /// Wake-up hints in Redis, without polling.
    EventDrivenOnly,
    /// Postgres only, polled each `CLAIM_INTERVAL`; Redis is not needed.
    PollingOnly,
}

impl DispatchMode {
    /// Returns whether wake-up hints are sent through Redis.
    pub fn uses_redis(self) -> bool {
        !matches!(self, Self::PollingOnly)
    }
}
