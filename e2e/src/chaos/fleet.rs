//! The system under test: Postgres, Redis, servers and workers, each with its own proxies, supervised like
//! containers with a restart policy.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tasker_testkit::{PostgresServer, Proxy, RedisServer, Running, System, http_client};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::plan::{MEMBERS, SERVERS, name};
use super::run_log::RunLog;

/// Interval at which the supervisor checks each process.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum time of a graceful stop: `SHUTDOWN_TIMEOUT`, and the time for a server's last writes.
const STOP: Duration = Duration::from_secs(40);
/// Timeout of a health request.
const HEALTH: Duration = Duration::from_secs(2);
/// The queues of each worker: one, two, all, and all in another order. The last worker registers another task
/// type than the others, on the same queues.
const QUEUES: [&str; MEMBERS - SERVERS] = [
    "high_priority",
    "default,low_priority",
    "high_priority,default,low_priority",
    "low_priority:2,default",
    "high_priority,default,low_priority",
];
/// The task type that only the last worker registers.
pub(super) const RARE_TYPE: &str = "visit";
/// Number of slots of a worker.
pub(super) const SLOTS: usize = 8;
/// `DB_POOL_SIZE` of every process.
pub(super) const POOL: usize = 5;

/// All running processes.
#[derive(Debug)]
pub(super) struct Fleet {
    /// Starts the processes and collects their logs.
    pub(super) system: System,
    /// The private Postgres.
    pub(super) postgres: Mutex<PostgresServer>,
    /// The private Redis.
    pub(super) redis: Mutex<RedisServer>,
    /// Sessions with Postgres that bypass the proxies.
    pub(super) db: PgPool,
    /// Servers, then workers.
    pub(super) members: Vec<Member>,
    /// The log of the run.
    pub(super) log: RunLog,
}

/// A server or a worker across restarts of its process.
#[derive(Debug)]
pub(super) struct Member {
    index: usize,
    /// Proxy to Postgres.
    pub(super) to_postgres: Proxy,
    /// Proxy to Redis.
    pub(super) to_redis: Proxy,
    environment: Vec<(String, String)>,
    url: StdMutex<String>,
    http: reqwest::Client,
    /// Its current process.
    pub(super) life: Mutex<Life>,
}

/// A process of a member.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub(super) struct Life {
    /// The process.
    pub(super) running: Running,
    /// True while it must not be restarted.
    pub(super) held_down: bool,
    /// True if a fault killed it.
    pub(super) killed: bool,
    /// The time at which a fault asked it to stop.
    pub(super) stopping: Option<Instant>,
    /// True if it was ever ready.
    pub(super) was_ready: bool,
    noted: bool,
}

impl Fleet {
    /// Starts all processes.
    pub(super) async fn start() -> Arc<Self> {
        let postgres = PostgresServer::start().await;
        let redis = RedisServer::start().await;
        let system = System::on(&postgres.url(), &redis.url())
            .with("DB_POOL_SIZE", &POOL.to_string())
            .with("WORKER_POOL_SIZE", &SLOTS.to_string())
            .with("HEARTBEAT_INTERVAL", "1s")
            .with("WORKER_TIMEOUT", "4s")
            .with("LEADER_TERM", "5s")
            .with("CLEANUP_INTERVAL", "5s")
            .with("SHUTDOWN_TIMEOUT", "3s");
        let members = (0..MEMBERS).map(|index| Member::start(index, &system, postgres.url(), redis.url()));
        let members = join_all(members).await;
        let fleet = Self {
            db: PgPoolOptions::new()
                .max_connections(4)
                .connect_lazy(&postgres.url())
                .expect("a URL"),
            log: RunLog::begin(system.folder()),
            postgres: Mutex::new(postgres),
            redis: Mutex::new(redis),
            system,
            members,
        };
        Arc::new(fleet)
    }

    /// Restarts ended processes until the returned handles are dropped.
    pub(super) fn supervise(self: &Arc<Self>) -> Vec<AbortOnDropHandle<()>> {
        let supervise = |index: usize| {
            let fleet = Arc::clone(self);
            let supervising = async move {
                loop {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                    fleet.check(&fleet.members[index]).await;
                }
            };
            AbortOnDropHandle::new(tokio::spawn(supervising))
        };
        (0..MEMBERS).map(supervise).collect()
    }

    async fn check(&self, member: &Member) {
        let mut life = member.life.lock().await;
        if let Some(status) = life.running.process.ended() {
            if !life.noted {
                life.noted = true;
                self.check_exit(member, &life, status);
            }
            if !life.held_down {
                *life = member.begin(&self.system);
                self.log.note(&format!(
                    "{} started with pid {}",
                    name(member.index),
                    life.running.process.pid()
                ));
            }
            return;
        }
        if life.stopping.is_some_and(|since| since.elapsed() > STOP) {
            self.log
                .violation("a process that gets SIGTERM ends", &name(member.index));
            life.killed = true;
            life.running.process.signal("KILL");
        }
        if !life.was_ready {
            drop(life);
            let ready = member.is_ready().await;
            member.life.lock().await.was_ready |= ready;
        }
    }

    fn check_exit(&self, member: &Member, life: &Life, status: ExitStatus) {
        let who = name(member.index);
        self.log.note(&format!("{who} ended: {status}"));
        if life.killed {
            return;
        }
        let log = life.running.process.log();
        let last = log.lines().rev().take(5).collect::<Vec<_>>().join(" / ");
        match (life.stopping.is_some(), status.code()) {
            (true, Some(0)) => {}
            (true, _) => self.log.violation(
                "a process that gets SIGTERM exits with 0",
                &format!("{who}: {status}: {last}"),
            ),
            (false, _) if life.was_ready || status.signal().is_some() => {
                self.log.violation(
                    "a process that was ready does not exit by itself",
                    &format!("{who}: {status}: {last}"),
                );
            }
            // stores may be unavailable at its start; a restart policy retries
            (false, _) => self.log.count("failed starts"),
        }
    }

    /// Returns the URL of a server's current process.
    pub(super) fn server(&self, index: usize) -> String {
        self.members[index % SERVERS].url()
    }

    /// Returns the workers.
    pub(super) fn workers(&self) -> &[Member] {
        &self.members[SERVERS..]
    }
}

impl Member {
    async fn start(index: usize, system: &System, database_url: String, redis_url: String) -> Self {
        let (to_postgres, database_url) = Proxy::before_url(&database_url).await;
        let (to_redis, redis_url) = Proxy::before_url(&redis_url).await;
        let mut environment = vec![
            ("DATABASE_URL".to_owned(), database_url),
            ("REDIS_URL".to_owned(), redis_url),
        ];
        if index >= SERVERS {
            environment.push(("TASK_QUEUES".to_owned(), QUEUES[index - SERVERS].to_owned()));
            environment.push(("WORKER_ID".to_owned(), name(index)));
            environment.push(("TYPES".to_owned(), RARE_TYPE.to_owned()));
        }
        let url = StdMutex::default();
        let life = Mutex::new(Life::of(spawn(index, system, &environment, &url)));
        Self {
            index,
            to_postgres,
            to_redis,
            environment,
            url,
            http: http_client().build().expect("a client without options"),
            life,
        }
    }

    /// Starts a new process.
    fn begin(&self, system: &System) -> Life {
        Life::of(spawn(self.index, system, &self.environment, &self.url))
    }

    /// Returns the URL of its current process.
    pub(super) fn url(&self) -> String {
        self.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns its name.
    pub(super) fn name(&self) -> String {
        name(self.index)
    }

    /// Returns true if its current process is ready.
    pub(super) async fn is_ready(&self) -> bool {
        let answer = self
            .http
            .get(format!("{}/health/ready", self.url()))
            .timeout(HEALTH)
            .send()
            .await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

impl Life {
    fn of(running: Running) -> Self {
        Self {
            running,
            held_down: false,
            killed: false,
            stopping: None,
            was_ready: false,
            noted: false,
        }
    }
}

fn spawn(index: usize, system: &System, environment: &[(String, String)], url: &StdMutex<String>) -> Running {
    let (program, address) = if index < SERVERS {
        ("tasker-server", "LISTEN_ADDRS")
    } else if index == MEMBERS - 1 {
        ("typed-worker", "WORKER_LISTEN_ADDR")
    } else {
        ("tasker-worker", "WORKER_LISTEN_ADDR")
    };
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let running = system.spawn(program, address, &environment);
    url.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone_from(&running.url);
    running
}
