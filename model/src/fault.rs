//! The kinds of faults, and a fault at one place.

use crate::state::{Claim, Handler, TaskNo, WorkerId};

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A push to Redis fails, or its server dies before it.
    LosePush,
    /// The response to a claim or a completion is lost; the statement took effect.
    LoseReply,
    /// `FLUSHALL`.
    Flush,
    /// `kill -9` of a worker.
    Crash,
    /// SIGSTOP of a worker, and SIGCONT at any later moment.
    Pause,
    /// Postgres crashes: asynchronous commits since the last durable one may be lost, the latest first.
    CrashOfPostgres,
    /// A worker releases a run.
    Release,
    /// A handler fails.
    Fail,
    /// A claim whose snapshot is older than the death of its worker.
    OldSnapshot,
    /// A timer fires too early: a heartbeat while the response to a claim is in flight, a fallback poll while
    /// an earlier run is in flight, a rebuild while pushes are in flight.
    Haste,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::LosePush,
        Self::LoseReply,
        Self::Flush,
        Self::Crash,
        Self::Pause,
        Self::CrashOfPostgres,
        Self::Release,
        Self::Fail,
        Self::OldSnapshot,
        Self::Haste,
    ];
}

/// A fault at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the fields are named as in the state; the variants are explained at `Fault`"
)]
pub enum InjectedFault {
    /// The push of a hint is lost.
    LosePush { task: TaskNo },
    /// The worker does not receive the response to its claim.
    LoseReplyOfClaim { claim: Claim },
    /// The worker completes a run without receiving the response, and will write the completion again.
    LoseReplyOfComplete { process: usize, handler: Handler },
    /// All lists are deleted.
    Flush,
    /// The process is killed; with `mid_claim` the claim that it sent still takes effect.
    Crash { process: usize, mid_claim: bool },
    /// The process is stopped.
    Pause { process: usize },
    /// The last `lost` commits are undone. Responses in flight arrive or not.
    CrashOfPostgres { lost: usize, with_answers: bool },
    /// `end_runs` with a release, as a stopping worker sends it.
    Release { process: usize, handler: Handler },
    /// `end_runs` of a failed attempt.
    Fail { process: usize, handler: Handler },
    /// `claim` of a worker that was declared dead after the snapshot.
    ClaimOnOldSnapshot { worker: WorkerId, task: TaskNo },
    /// `reclaim_lost_claims` while the response to the claim is in flight.
    HastyReclaim { process: usize, task: TaskNo },
    /// `claim_oldest` of a task of which this worker has an earlier run in flight.
    HastyPoll { process: usize, task: TaskNo },
    /// `rebuild` while pushes are in flight.
    HastyRebuild { leader: usize },
}
