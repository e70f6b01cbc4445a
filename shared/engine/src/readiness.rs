//! The facts that decide whether a worker claims.

use std::sync::Arc;

use crate::activity::Activity;
use crate::availability::Availability;
use crate::serving::Paused;

/// The state of the services and queues that a worker claims from. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    pub(crate) postgres: Arc<Availability>,
    pub(crate) redis: Arc<Availability>,
    pub(crate) paused: Arc<Paused>,
    pub(crate) activity: Arc<Activity>,
}
