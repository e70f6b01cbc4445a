//! What follows the end of steps in a duty: hints of what became ready, and waves of skips.

use std::sync::Arc;

use tasker_store::steps::{self, Advance};
use tasker_store::{self as store, ObservedPool, retry_rolled_back};

use crate::duty::bounded;
use crate::hints::HintSender;

/// Pushes the hints of ready steps and sends the waves of skips until none is left.
pub(crate) async fn follow(
    db: &ObservedPool,
    hints: &Arc<dyn HintSender>,
    mut advance: Advance,
) -> store::Result<()> {
    loop {
        let (front, back) = advance.ready.into_iter().partition(|hint| hint.urgent);
        hints.push_front(front).await;
        hints.push(back).await;
        if advance.to_skip.is_empty() {
            return Ok(());
        }
        let wave = advance.to_skip;
        advance = retry_rolled_back(|| bounded(steps::skip_wave(db, &wave))).await?;
    }
}
