//! Injection and healing of faults.

use std::process::Command;
use std::time::Instant;

use futures_util::future::join_all;

use super::fleet::{Fleet, Member};
use super::plan::{Event, Fault, LinkFault, Store};

/// Injects the faults of the plan at their times, and returns when all are healed.
///
/// # Panics
/// If a fault cannot be injected: `kill` fails, or a store does not restart.
pub(super) async fn inject_all(fleet: &Fleet, events: &[Event]) {
    let begin = Instant::now();
    let faults = events.iter().map(async |event| {
        tokio::time::sleep((begin + event.at).saturating_duration_since(Instant::now())).await;
        fleet.log.note(&format!("{} for {:?}", event.fault, event.lasts));
        inject(fleet, event.fault).await;
        fleet.log.count(&format!("fault: {}", event.fault.kind()));
        tokio::time::sleep((begin + event.at + event.lasts).saturating_duration_since(Instant::now())).await;
        heal(fleet, event.fault).await;
        fleet.log.note(&format!("healed: {}", event.fault));
    });
    join_all(faults).await;
}

async fn inject(fleet: &Fleet, fault: Fault) {
    match fault {
        Fault::Kill(member) => {
            let mut life = fleet.members[member].life.lock().await;
            (life.held_down, life.killed) = (true, true);
            life.running.process.signal("KILL");
        }
        Fault::Terminate(member) => {
            let mut life = fleet.members[member].life.lock().await;
            life.stopping.get_or_insert_with(Instant::now);
            life.running.process.signal("TERM");
        }
        Fault::Pause(member) => fleet.members[member]
            .life
            .lock()
            .await
            .running
            .process
            .signal("STOP"),
        Fault::Link(member, store, fault) => {
            for member in affected(fleet, member) {
                disturb(member, store, fault);
            }
        }
        Fault::FlushRedis => fleet.system.queue().raw("FLUSHALL", &[]),
        Fault::RestartRedis => fleet.redis.lock().await.stop().await,
        Fault::PauseRedis => fleet.redis.lock().await.process().signal("STOP"),
        Fault::CrashPostgres => fleet.postgres.lock().await.crash().await,
        Fault::RestartPostgres => fleet.postgres.lock().await.stop().await,
        Fault::KillBackend => kill_backend(fleet).await,
        Fault::TerminateBackends => {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tasker%'";
            let _ = sqlx::query(sql).execute(&fleet.db).await;
        }
        Fault::PausePostgres => fleet.postgres.lock().await.process().signal("STOP"),
    }
}

async fn heal(fleet: &Fleet, fault: Fault) {
    match fault {
        Fault::Kill(member) => fleet.members[member].life.lock().await.held_down = false,
        Fault::Pause(member) => fleet.members[member]
            .life
            .lock()
            .await
            .running
            .process
            .signal("CONT"),
        Fault::Link(member, store, _) => {
            for member in affected(fleet, member) {
                link(member, store).heal();
            }
        }
        Fault::RestartRedis => fleet.redis.lock().await.restart().await,
        Fault::PauseRedis => fleet.redis.lock().await.process().signal("CONT"),
        Fault::CrashPostgres | Fault::RestartPostgres => fleet.postgres.lock().await.restart().await,
        Fault::PausePostgres => fleet.postgres.lock().await.process().signal("CONT"),
        Fault::Terminate(_) | Fault::FlushRedis | Fault::KillBackend | Fault::TerminateBackends => {}
    }
}

fn affected(fleet: &Fleet, member: Option<usize>) -> &[Member] {
    match member {
        Some(member) => std::slice::from_ref(&fleet.members[member]),
        None => &fleet.members,
    }
}

fn link(member: &Member, store: Store) -> &tasker_testkit::Proxy {
    match store {
        Store::Postgres => &member.to_postgres,
        Store::Redis => &member.to_redis,
    }
}

fn disturb(member: &Member, store: Store, fault: LinkFault) {
    let link = link(member, store);
    match fault {
        LinkFault::Cut => link.cut(),
        LinkFault::Close => link.close_connections(),
        LinkFault::Hang => link.hang(),
        LinkFault::SwallowReplies => link.swallow_replies(),
        LinkFault::Slow(delay) => link.slow_down(delay),
    }
}

async fn kill_backend(fleet: &Fleet) {
    let sql =
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tasker%' ORDER BY random() LIMIT 1";
    // no row while all links are cut: then there are no sessions
    if let Ok(Some(pid)) = sqlx::query_scalar::<_, i32>(sql).fetch_optional(&fleet.db).await {
        let _ = Command::new("kill")
            .args(["-s", "KILL", &pid.to_string()])
            .status();
    }
}
