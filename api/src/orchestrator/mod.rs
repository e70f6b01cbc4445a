//! The maintenance duties. Each is `run` around `run_once`, and harmless in pairs: every server carries them out.

mod partitions;
mod promote;

use std::sync::Arc;

use tasker_shared::lifecycle::Shutdown;

pub use partitions::PartitionKeeper;
pub use promote::Promoter;

use crate::state::AppState;

/// Starts every duty as a task of the process.
pub fn start(state: &AppState, shutdown: &Shutdown) {
    let stop = shutdown.soft();
    let promoter = Promoter::new(state.db.clone(), Arc::clone(&state.pusher));
    shutdown.spawn_named("promoter", promoter.run(stop.clone()));
    let keeper = PartitionKeeper::new(state.db.clone());
    shutdown.spawn_named("partition keeper", keeper.run(stop.clone()));
}
