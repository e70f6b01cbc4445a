//! What follows the end of a step: the hints of the steps that it made ready, and the waves of skips.

use tasker_store::steps::{self, Advance};

use crate::hints::Hints;
use crate::statements::{Statements, until_written};

/// The maximum number of steps that one wave of skips ends.
const WAVE_STEPS: usize = 512;

/// Pushes the hints of what is ready, and skips what has to be skipped, wave after wave. If this worker dies
/// meanwhile, the polling fallback finds the ready steps and the leader sends the next wave.
pub(crate) async fn follow(statements: &Statements, hints: &Hints, mut advance: Advance) {
    loop {
        hints.push(&advance.ready).await;
        if advance.to_skip.is_empty() {
            return;
        }
        let wave = advance.to_skip;
        let (wave, later) = wave.split_at(wave.len().min(WAVE_STEPS));
        let answer = until_written(statements, async || {
            let mut connection = statements.connections.take().await?;
            let next = steps::skip_wave(&mut *connection, wave).await?;
            statements.connections.release(connection);
            Ok(next)
        });
        // rejected or stopped: the leader sends the wave again
        let Ok(mut next) = answer.await else { return };
        next.to_skip.extend(later);
        advance = next;
    }
}
