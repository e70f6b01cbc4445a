//! A model of the dispatch protocol, checked in every order of events.
//!
//! End-to-end and chaos tests cover some orders of events. This crate covers all of them, for a few tasks,
//! workers and faults: it describes the atomic steps of servers, workers and leaders, and [`stateright`]
//! explores every state that any interleaving of those steps reaches. `cargo test -p tasker-model` searches
//! close to a million states in half a minute, in a debug build.
//!
//! # Scope
//!
//! Actions have the names of the functions that they stand for (see [`Action`]):
//!
//! - **Servers**: `insert`, the push of the hint, `promote`.
//! - **Workers**: `pop` (destructive, dropping hints of tasks in flight), `claim` (sent, executed, answered:
//!   three events), `claim_oldest` (a fallback poll), `complete` and `end_runs` (fenced by task, run number
//!   and worker), `InFlight`, which removes a run only after the response to its completion,
//!   `reclaim_lost_claims`, and the heartbeat by which a worker learns that it was declared dead.
//! - **Leaders**, one or two at once: `declare_dead`, `recover`, `rebuild` (read, then RENAME).
//! - **Faults**, any mixture of a bounded number at any moment: lost pushes and responses, FLUSHALL, `kill
//!   -9` (also with a claim in flight), SIGSTOP and SIGCONT, a crash of Postgres that undoes the last
//!   asynchronous commits, released runs, failing handlers, snapshots older than a death, timers that fire
//!   early (see [`Fault`]).
//!
//! A statement is one atomic step, as in Postgres: a row that changed while the statement waited for its lock
//! is checked again. The list is a bag: a pop takes any hint, so no property depends on order.
//!
//! The invariants are in `properties.rs`. In addition [`always_terminates`] checks that once faults cease
//! every order of events finishes every task: no state is stuck, and no cycle can repeat for ever.
//!
//! # Out of scope
//!
//! - Time. An event that waits for a timeout or an interval may happen at any moment at which it is possible.
//!   Three events wait for others in reality and therefore here: the second heartbeat after a claim for the
//!   claim's response, a fallback poll for the end of a handler whose task it would claim again, the rebuild
//!   for hints in flight. [`Fault::Haste`] removes these waits.
//! - Batches: a statement concerns one task, since each row of a batch is decided independently.
//! - Several queues, order and age; paused queues; slots; suspects (a task is quarantined after a number of
//!   crashes).
//! - Task types, split queues and parked hints: [`routing`] is a model of these.
//! - Cancellation, idempotency keys, workflows, operators' retries, retention, graceful shutdown of a worker.
//! - Two claims of one worker in flight: two workers show the same.
//! - The catch-up of a rebuilt list with hints pushed during the rebuild: they count as lost.
//! - The liveness lock: the way a death is detected makes no difference here, since a frozen worker may be
//!   declared dead at any moment.
//!
//! # Counterexamples
//!
//! Each protection can be removed ([`Protections`]); `tests/it/counterexamples.rs` shows the counterexample
//! that the search then finds. Without these tests a model without any events would pass as well.
//!
//! Three results are worth knowing. A task is never *completed twice* because the completion moves its row;
//! for that the task id alone is a sufficient fence. The run number prevents that a late writer ends a newer
//! run. The worker id does so where a crash of Postgres undid a claim and the same run number was given out
//! again.
//!
//! # Size of the searches
//!
//! | tasks | faults | states | debug build, one thread |
//! |---|---|---|---|
//! | 1 | any 1 | 2,000 | 0.1 s |
//! | 1 | any 2 | 60,000 | 2 s |
//! | 1 | any 3 of lost responses, stops, crashes of Postgres | 230,000 | 7 s |
//! | 1 | any 3 | 1,120,000 | 35 s (`-- --ignored`) |
//! | 2 | any 1 | 260,000 | 11 s |

mod actions;
mod config;
mod fault;
mod faults;
mod properties;
pub mod routing;
mod search;
mod state;
mod statements;
mod workers;

pub use actions::Action;
pub use config::{Config, Fence, Protections};
pub use fault::{Fault, InjectedFault};
pub use properties::*;
pub use search::{Termination, always_terminates, reaches};
pub use state::*;
