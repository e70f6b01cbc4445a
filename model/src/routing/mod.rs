//! Routing by task type: plain and split queues, and parked hints, as a model of its own.
//!
//! The other model of this crate has one task type and asks what happens to runs. This one ends where a task is
//! claimed, and asks how its hint reaches a worker that registers its type while workers start, stop and register
//! different types. M is the main list (`rq:queue:{q}`), whose length is the depth; T a list for each task type; U
//! the parked hints of types that no live worker registers (`rq:unroutable:{q}`).
//!
//! # The protocol
//!
//! - **Flag** (`rq:queue:split:{q}`): absent in a *plain* queue, `opening` from the first misroute or the leader's
//!   decision until the type lists are filled, `split`, and `closing` on the way back. Only the leader's fill makes
//!   `opening` a `split`, so a leader that dies between the two leaves a mark for the next.
//! - **Push**: M, the flag and perhaps T in one round trip; T in a second one where the answer says that T lacks
//!   the id. What the pusher assumes is either, since each server remembers its own last answer.
//! - **Pop** of a plain queue: M. Of a split one: T of the worker's types, and *any* id of M in the same script (a
//!   blocking pop takes it in a second round trip). Only the length of M is exact then. Whatever takes any id of M
//!   reads the flag in the same script and does so only in a split queue; a closing one has an exact M again.
//! - **Misroute**: the claim returns a pending id of another type, and whether a live worker registers that type.
//!   If so, one step puts the id back on M and T and sets the flag to `opening` where it is absent or `closing`;
//!   otherwise the id goes to U.
//! - **Leader**: opens the queue of a mixed fleet, fills `opening` ones, closes those of a uniform fleet (M from
//!   the table, then deletion of T and the flag where it is still `closing`), parks type lists without a worker,
//!   sorts U by rows and live workers, compares lengths with rows. A fill or rebuild makes M, T and U in one step
//!   and then catches up.
//!
//! # The model
//!
//! Lists are bags: a pop takes any id, so that nothing rests on order. Between what a leader decides or reads and
//! what it writes anything can happen, and there may be two leaders. A comparison waits until nothing is in flight,
//! as two passes some seconds apart do; [`Fault::Haste`] lets it not wait. Runs do not end, so slots stay taken;
//! that a run comes back is [`Fault::Release`].
//!
//! [`search`] demands that every order of events without further faults ends, in a state where nothing is
//! [`Wrong`]. A circle of events, such as a misrouted id that is popped and pushed back for ever, is a
//! counterexample: no fairness is assumed.
//!
//! # Findings
//!
//! Each safeguard of [`Safeguards`] has a test in `tests/it/routing/bites.rs` that removes it. Besides, with none
//! of polls and comparisons, starts and clean stops of workers lose no hint. Two things are left to comparisons: a
//! row that is claimed between the read and the `RENAME` of a rebuild leaves a stale hint, and a worker that
//! blocked on M from before the split takes an id from it whose copy stays in T.

mod actions;
mod config;
mod faults;
mod leaders;
mod search;
mod settled;
mod state;
mod step;
mod workers;

pub use actions::Action;
pub use config::{A, B, Config, Fault, Fleet, Safeguards, Start};
pub use search::{Counterexample, Outcome, reaches, search};
pub use settled::Wrong;
pub use state::*;
