//! The dispatch protocol as a model, in which every order of events is tried out.
//!
//! Tests over the real programs try some orders of events; chaos tests try some more. This crate tries all of them, for
//! few tasks, workers and faults: it describes who does what in which atomic steps, and [`stateright`] walks through
//! every state that any interleaving of those steps leads to. `cargo test -p tasker-model` searches close to a million
//! states in half a minute, in a debug build.
//!
//! # What is modelled
//!
//! Actions bear the names of the functions that they stand for (see [`Action`]):
//!
//! - **Servers**: `insert`, the push of the hint, `promote`.
//! - **Workers**: `pop` (destructive, dropping hints of held tasks), `claim` (on its way, carried out, answered: three
//!   moments), `claim_oldest` (the net), `complete` and `end_runs` (fenced by task, run number and worker), `Held`,
//!   which lets go of a run only when its end is answered, `reclaim_lost_claims`, the heartbeat that tells a worker that
//!   it is dead.
//! - **Leaders**, one or two at once: `declare_dead`, `recover`, `rebuild` (read, then RENAME).
//! - **Faults**, any mixture of a bounded number at any moment: lost pushes and answers, FLUSHALL, `kill -9` (also with
//!   a claim on its way), SIGSTOP and SIGCONT, a crash of Postgres that undoes the last asynchronous commits, runs
//!   given back, failing handlers, snapshots older than a death, timers that fire early (see [`Fault`]).
//!
//! A statement is one atomic step, as Postgres makes it: a row that changed while the statement waited for its lock is
//! judged anew. The list is a bag: a pop takes any hint, so no property rests on order.
//!
//! What must hold is in `properties.rs`; [`sure_to_end`] shows besides that whatever happened, once faults cease every
//! order of events ends every task: no state is stuck, and no circle can be gone round for ever.
//!
//! # What is not
//!
//! - Time. What waits for silence or an interval may happen at any moment at which it could. Three things wait for each
//!   other in reality and therefore here: the second heartbeat after a claim for its answer, the net's next look for
//!   the end of a handler whose task it would take once more, the rebuild for hints on their way. [`Fault::Haste`] lets
//!   them not wait.
//! - Batches: a statement concerns one task. Each row of a batch is judged on its own.
//! - Several queues, order and age; paused queues; slots; suspects (a task is quarantined after a number of crashes).
//! - Task types, split queues and parked hints: [`routing`] is a model of these.
//! - Cancellation, idempotency keys, workflows, operators' retries, retention, a worker that leaves in peace.
//! - A second claim of the same worker on its way; two workers show the same.
//! - The catching up of a new list with hints that were pushed while it was made: they count as lost.
//! - The liveness lock: how a death is noticed makes no difference here, a frozen worker may be declared dead at any
//!   moment.
//!
//! # That it bites
//!
//! Each protection can be taken away ([`Protections`]); `tests/it/bites.rs` shows what then goes wrong. Without these
//! tests a model in which nothing can happen would pass as well.
//!
//! Some of it is worth knowing. What keeps a task from being *completed twice* is that completing moves its row: that
//! holds with no more of a fence than the task's id. The run number keeps a late writer from ending a run that is
//! another's, and the worker id does so where a crash of Postgres undid a claim and the number came twice.
//!
//! # How large the searches are
//!
//! | tasks | faults | states | debug build, one thread |
//! |---|---|---|---|
//! | 1 | any 1 | 2,000 | 0.1 s |
//! | 1 | any 2 | 60,000 | 2 s |
//! | 1 | any 3 of lost answers, stops, crashes of Postgres | 230,000 | 7 s |
//! | 1 | any 3 | 1,120,000 | 35 s (`-- --ignored`) |
//! | 2 | any 1 | 260,000 | 11 s |

mod actions;
mod config;
mod faults;
mod properties;
pub mod routing;
mod search;
mod state;
mod statements;
mod workers;

pub use actions::Action;
pub use config::{Config, Fence, Protections};
pub use faults::{Fault, Strike};
pub use properties::*;
pub use search::{Ends, reaches, sure_to_end};
pub use state::*;
