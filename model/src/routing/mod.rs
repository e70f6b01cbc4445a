//! A model of routing by task type: plain queues, split queues, and parked hints.
//!
//! The other model of this crate has one task type and follows runs. This one ends at the claim of a task and
//! follows its hint to a worker that registers its type, while workers start, stop and register different
//! types. M is the main list (`rq:queue:{q}`), whose length is the depth; T a list for each task type; U the
//! parked hints of types that no live worker registers (`rq:unroutable:{q}`).
//!
//! # The protocol
//!
//! - **State** (`rq:queue:split:{q}`): absent in a *plain* queue; `opening` while a fill reads the table (M
//!   is popped, pushes fill both kinds of list); `split` (T is popped); `closing` on the way back (M is
//!   popped, pushes fill both). Only a leader changes it.
//! - **Push**: one script, onto M, and onto T where there is a state. Hints without a type go to M alone.
//! - **Balance**: while a queue is split M only counts. Every script that changes type lists ends in
//!   `balance`, which gives M the length of T: any ids leave it, or any ids of T join it. It reads the state
//!   and has no effect in others.
//! - **Pop** of a plain queue: M. Of a split one: T of the worker's types, by a script that reads the state,
//!   or by a blocking pop with `balance` as the next command of its pipeline. The keys that a worker blocks
//!   on depend on the last state that it read.
//! - **Misroute**: the claim returns a pending id of another type, and whether a live worker registers that
//!   type. If so, the id is pushed like a new one, otherwise onto U.
//! - **Fill**: `OPEN`, then the read, then U and T in one script (`ADOPT`, which keeps what was pushed to T
//!   meanwhile, and has no effect if the queue was closed meanwhile, even if it was opened again: each
//!   opening is a generation of its own), then a sweep once earlier pops have ended. Where T is too long to
//!   keep concurrent pushes, the missed ids are pushed again.
//! - **Closing**: one script, `MERGE`. From `split` it makes M of all T; from `closing` it deletes the state;
//!   in a plain queue it has no effect.
//! - **Leader** besides: parks type lists without a worker, sorts U by rows and live workers (pushes first,
//!   removes afterwards), sweeps after removals that did not find their id, balances, and compares M + U with
//!   rows. A queue that lacks hints is rebuilt, M and U with a catch-up, or by a fill where it is split; one
//!   that has too many is swept, and rebuilt if the sweep finds no stale id.
//!
//! # The model
//!
//! Lists are bags: a pop takes any id, so no result depends on order. Between a leader's read and its write
//! any event can happen. Two leaders also stand for the two loops of one leader. A comparison waits until no
//! message is in flight and no other duty is due, like two runs some seconds apart; [`Fault::Haste`] removes
//! this wait. Runs do not end, so slots stay occupied; a released run is [`Fault::Release`]. Time is not
//! modelled: a queue may be closed as soon as its fleet is uniform, and the second step need not wait for the
//! first.
//!
//! [`search()`] checks that every order of events without further faults ends in a state that is not
//! [`Wrong`]. A cycle of events is a counterexample: no fairness is assumed, with one exception. After a
//! misroute a worker pauses for 100 ms, which bounds the rate of a hint that goes back and forth, not the
//! number. So while a leader has a step to take, a worker does not pop an id that it returned until a leader
//! has finished a duty. Where no leader has one, it does, and the cycle counts.
//!
//! Left out are lists longer than a page or than the reach of a removal ([`Fault::Miss`] stands for the
//! latter) and the limit of `MERGE`.
//!
//! # Findings
//!
//! Each safeguard of [`Safeguards`] has a test in `tests/it/routing/counterexamples.rs` that removes it.
//! Starts and clean stops of workers lose no hint even without fallback polls and comparisons. Only
//! comparisons repair hints of rows that are claimed while a rebuild reads, and copies of an id in flight
//! during the sweep after a split.

mod actions;
mod config;
mod duties;
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
