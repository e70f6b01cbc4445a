//! Traffic that triggers every event that a metric counts.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgPool};
use tasker_core::task::TaskId;
use tasker_testkit::{Certificates, RedisServer, Running, System, eventually, free_port};
use tokio::net::TcpStream;

use super::observed::{Observed, Scraper};
use crate::collector::Collector;
use crate::harness::{SOON, echo, long_running, submit_batch};

/// A system under test, with its scraped metrics.
pub(crate) struct Traffic {
    db: PgPool,
    system: System,
    redis: RedisServer,
    scraper: Scraper,
    server: Running,
    _worker: Running,
    _collector: Collector,
}

impl Traffic {
    /// Triggers every counted event.
    pub(crate) async fn drive(db: PgPool) -> Self {
        let mut traffic = Self::start(db).await;
        traffic.connection_limits().await;
        traffic.submits().await;
        traffic.attempts().await;
        traffic.operators().await;
        traffic.routes().await;
        traffic.ages().await;
        traffic.lost_hints().await;
        traffic.runs_of_others().await;
        traffic.released_runs().await;
        traffic.locks().await;
        traffic.redis_unavailable().await;
        traffic.deaths().await;
        traffic.clean_up().await;
        traffic
    }

    pub(crate) fn observed(&self) -> Observed {
        self.scraper.observed()
    }

    async fn start(db: PgPool) -> Self {
        let redis = RedisServer::start().await;
        let collector = Collector::start().await;
        let url = db.connect_options().to_url_lossy();
        let system = System::on(url.as_str(), &redis.url())
            .with("HEARTBEAT_INTERVAL", "500ms")
            .with("WORKER_TIMEOUT", "3s")
            .with("LEADER_TERM", "5s")
            .with("CLEANUP_INTERVAL", "1s")
            .with("IDEMPOTENCY_TTL", "1s")
            .with("DEAD_LETTER_RETENTION_DAYS", "1")
            .with("RETENTION_DAYS", "1")
            .with("PRIORITY_AGE_LIMIT", "1s")
            .with("BREAKER_COOLDOWN", "200ms")
            .with("EXTRA_QUEUES", "elsewhere,mixed")
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
            .with("OTEL_BSP_SCHEDULE_DELAY", "200");
        // old partitions to drop, and a missing future one to create
        system.server(&[]).await.process.terminate().await;
        for table in ["finished_tasks", "task_events"] {
            let (old, new) = (day(table, -5), day(table, 13));
            execute(
                &db,
                &format!(
                    "DO $$ DECLARE day timestamptz := date_trunc('day', now(), 'UTC'); BEGIN
                   EXECUTE format('CREATE TABLE %I PARTITION OF {table} FOR VALUES FROM (%L) TO (%L)', {old},
                                  day - interval '120 hours', day - interval '96 hours');
                   EXECUTE format('DROP TABLE %I', {new});
                 END $$"
                ),
            )
            .await;
        }
        let server = system.server(&[]).await;
        let worker = system.worker(&[("WORKER_POOL_SIZE", "4")]).await;
        let scraper = Scraper::start();
        scraper.watch(&server);
        scraper.watch(&worker);
        Self {
            db,
            system,
            redis,
            scraper,
            server,
            _worker: worker,
            _collector: collector,
        }
    }

    /// Waits until these metrics have changed.
    async fn until(&self, names: &[&str]) {
        for name in names {
            eventually(name, SOON, async || self.scraper.moved(name)).await;
        }
    }

    async fn sql(&self, sql: &str) {
        execute(&self.db, sql).await;
    }

    /// Starts another worker.
    async fn another(&self, queue: &str) -> Running {
        let worker = self.system.worker(&[("TASK_QUEUES", queue)]).await;
        self.scraper.watch(&worker);
        worker
    }

    /// Starts a server with one connection slot, taken by a client that never sends a TLS handshake. Its
    /// metrics port has its own slots.
    async fn connection_limits(&self) {
        let certificates = Certificates::make();
        let (certificate, key) = (certificates.certificate(), certificates.key());
        let metrics_port = free_port().to_string();
        let server = self.system.spawn(
            "tasker-server",
            "LISTEN_ADDRS",
            &[
                ("TLS_CERT_FILE", certificate.to_str().expect("a path in UTF-8")),
                ("TLS_KEY_FILE", key.to_str().expect("a path in UTF-8")),
                ("MAX_CONNECTIONS", "1"),
                ("METRICS_PORT", &metrics_port),
            ],
        );
        self.scraper.watch_at(format!("https://127.0.0.1:{metrics_port}"));
        let address = server.url.trim_start_matches("http://");
        let mut silent = Vec::new();
        eventually("a connection is refused", SOON, async || {
            silent.extend(TcpStream::connect(address).await);
            self.scraper.moved("tasker_http_connections_refused_total")
        })
        .await;
        drop(silent);
        self.until(&["tasker_http_handshakes_failed_total"]).await;
    }

    async fn submits(&self) {
        let keyed = json!({"task_name": "echo", "idempotency_key": "k"});
        for _ in 0..2 {
            self.server.post("/tasks/submit", &keyed).await;
        }
        self.server
            .post("/tasks/submit", &json!({"task_name": "unknown"}))
            .await;
        submit_batch(&self.server, 50).await;
        self.server
            .submit(&json!({"task_name": "echo", "delay": "100ms"}))
            .await;
        // two last steps, so that one of them reaches the end while the other runs
        let workflow = json!({"name": "two", "steps": [
            {"name": "short", "run": "noop"},
            {"name": "long", "run": "example_long_running", "with": {"duration": 0.5}}
        ]});
        self.server.post("/v1/workflows", &workflow).await;
        self.until(&[
            "finalization_claim_success_total",
            "tasker_promoted_total",
            "tasker_submit_deduplicated_total",
            "tasks_enqueued_total",
        ])
        .await;
    }

    async fn attempts(&self) {
        let failing = json!({"task_name": "example_failing", "max_retries": 1});
        let failing = self.server.submit(&failing).await;
        let notified = self.server.submit(&long_running(600.0)).await;
        self.server.wait_for(&notified, "running", SOON).await;
        self.until(&[
            "tasks_running",
            "worker_pool_active",
            "tasker_in_flight_runs",
            "tasker_progress_reports_total",
        ])
        .await;
        self.server
            .post(&format!("/tasks/{notified}/cancel"), &Value::Null)
            .await;
        self.server.wait_for(&notified, "cancelled", SOON).await;
        self.server.wait_for(&failing, "dead_letter", SOON).await;
        self.until(&[
            "tasker_dead_letters",
            "tasker_failed_runs_total",
            "tasker_cancellation_notices_total",
        ])
        .await;
    }

    async fn operators(&self) {
        self.server.post("/queues/low_priority/pause", &Value::Null).await;
        self.server
            .submit(&json!({"task_name": "echo", "queue": "low_priority"}))
            .await;
        self.until(&[
            "tasker_queue_paused",
            "tasker_worker_queues_paused",
            "tasker_queue_depth",
            "tasks_pending",
            "tasker_queue_oldest_age_seconds",
        ])
        .await;
        // a stale hint in a list that is not popped
        let list = format!("{}low_priority", self.system.queue().config().key_prefix);
        let stale = TaskId::generate().to_string();
        self.system.queue().raw("RPUSH", &[&list, &stale]);
        self.until(&["tasker_swept_hints_total"]).await;
        self.server
            .post("/queues/low_priority/resume", &Value::Null)
            .await;
    }

    /// Workers of one queue register different types; then one of the types loses its worker.
    async fn routes(&self) {
        let mixed = [("TASK_QUEUES", "mixed")];
        let _stays = self.system.worker_of_types("stays", &mixed).await;
        let mut goes = self.system.worker_of_types("goes", &mixed).await;
        self.until(&["tasker_queue_split"]).await;
        goes.process.terminate().await;
        for queue in ["mixed", "high_priority"] {
            self.server
                .submit(&json!({"task_name": "goes", "queue": queue}))
                .await;
        }
        self.until(&[
            "tasker_queue_unroutable",
            "tasker_queue_type_pending",
            "tasker_misrouted_hints_total",
        ])
        .await;
    }

    /// A task of a lower class waits beyond the age limit while others occupy all slots.
    async fn ages(&self) {
        let busy: Vec<Value> = (0..150).map(|_| long_running(0.2)).collect();
        self.server
            .post("/tasks/submit/batch", &json!({"tasks": busy}))
            .await;
        self.server
            .submit(&json!({"task_name": "echo", "queue": "low_priority"}))
            .await;
        self.until(&[
            "tasker_queue_starved_tasks",
            "tasker_priority_aging_hints_total",
            "tasker_fallback_claims_total",
        ])
        .await;
    }

    async fn lost_hints(&self) {
        let list = format!("{}default", self.system.queue().config().key_prefix);
        let unknown = TaskId::generate().to_string();
        self.system.queue().raw("RPUSH", &[&list, &unknown]);
        for _ in 0..3 {
            self.server
                .submit(&json!({"task_name": "echo", "queue": "elsewhere"}))
                .await;
        }
        self.until(&["tasker_stale_hints_total", "tasker_queues_without_workers"])
            .await;
        self.system.queue().delete_all();
        self.until(&["tasker_rebuilt_lists_total", "tasker_rebuilt_hints_total"])
            .await;
    }

    /// Writes about runs whose fence no longer matches.
    async fn runs_of_others(&self) {
        let gone = self.server.submit(&long_running(1.0)).await;
        let late =
            json!({"task_name": "example_long_running", "parameters": {"duration": 600}, "max_retries": 0});
        let late = self.server.submit(&late).await;
        for id in [&gone, &late] {
            self.server.wait_for(id, "running", SOON).await;
        }
        let worker = self.server.task(&late).await["worker_id"]
            .as_str()
            .expect("a worker")
            .to_owned();
        self.sql(&format!("DELETE FROM tasks WHERE id = '{gone}'")).await;
        self.sql(&format!(
            "UPDATE tasks SET started_at = now() - interval '3 hours' WHERE id = '{late}'"
        ))
        .await;
        self.sql(&format!(
            "UPDATE tasks SET status = 'running', worker_id = '{worker}', runs = 1, started_at = now() - interval '1 minute'
              WHERE id = (SELECT id FROM tasks WHERE queue = 'elsewhere' AND status = 'pending' LIMIT 1)"
        ))
        .await;
        self.until(&[
            "tasker_fenced_writes_total",
            "tasker_overdue_runs_total",
            "tasker_lost_claim_runs_total",
        ])
        .await;
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tasker-w-%'
                     AND datname = current_database()",
        )
        .await;
        self.until(&["tasker_liveness_losses_total"]).await;
        self.sql("UPDATE workers SET status = 'dead', died_at = now()")
            .await;
        self.until(&["tasker_declared_dead_total"]).await;
    }

    /// Holds an old snapshot, then a table lock, so that the metrics show the age and the waits.
    async fn locks(&self) {
        self.server
            .submit(&json!({"task_name": "echo", "queue": "elsewhere", "delay": "300ms"}))
            .await;
        let mut snapshot = self
            .db
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await
            .expect("a transaction");
        sqlx::raw_sql("SELECT FROM tasks WHERE status = 'scheduled' FOR UPDATE")
            .execute(&mut *snapshot)
            .await
            .expect("a lock");
        self.until(&["tasker_oldest_snapshot_seconds", "tasker_promotion_lag_seconds"])
            .await;
        snapshot.rollback().await.expect("its end");

        let mut lock = self.db.begin().await.expect("a transaction");
        sqlx::raw_sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *lock)
            .await
            .expect("a lock");
        let waiting: Vec<_> = (0..30)
            .map(|number| {
                let request = self.server.http.post(format!("{}/tasks/submit", self.server.url));
                tokio::spawn(request.json(&echo(number)).send())
            })
            .collect();
        let list = format!("{}default", self.system.queue().config().key_prefix);
        self.system
            .queue()
            .raw("RPUSH", &[&list, &TaskId::generate().to_string()]);
        let shown = [
            "tasker_submit_waiting",
            "tasker_submit_memory_bytes",
            "tasker_http_requests_in_progress",
            "tasker_claim_failures_total",
            "tasker_availability_changes_total",
        ];
        self.until(&shown).await;
        lock.rollback().await.expect("its end");
        for request in waiting {
            let _ = request.await;
        }
    }

    async fn redis_unavailable(&mut self) {
        self.redis.stop().await;
        for number in 0..8 {
            self.server.submit(&echo(number)).await;
        }
        let shown = [
            "tasker_push_failures_total",
            "tasker_pushes_skipped_total",
            "tasker_circuit_breaker_state",
            "tasker_redis_command_failures_total",
            "tasker_duty_failures_total",
        ];
        self.until(&shown).await;
        self.redis.restart().await;
        self.until(&["tasker_circuit_breaker_recovery_seconds"]).await;
    }

    async fn deaths(&self) {
        let mut victim = self.another("elsewhere").await;
        let task = json!({"task_name": "example_long_running", "parameters": {"duration": 600}, "queue": "elsewhere"});
        let task = self.server.submit(&task).await;
        self.server.wait_for(&task, "running", SOON).await;
        self.until(&["tasker_workers_watched", "tasker_workers_joined_total"])
            .await;
        victim.process.kill().await;
        self.until(&["tasker_recovered_runs_total", "tasker_worker_deaths_total"])
            .await;
        let mut leaving = self.another("high_priority").await;
        leaving.process.terminate().await;
        let mut several = Vec::new();
        for _ in 0..3 {
            several.push(self.another("high_priority").await);
        }
        for victim in &mut several {
            victim.process.kill().await;
        }
        self.until(&["tasker_workers_left_total", "tasker_fleet_unhealthy"])
            .await;
    }

    async fn clean_up(&self) {
        self.sql("UPDATE workers SET died_at = now() - interval '2 hours' WHERE status = 'dead'")
            .await;
        self.sql("UPDATE tasks SET updated_at = now() - interval '2 days' WHERE status = 'dead_letter'")
            .await;
        self.until(&[
            "tasker_workers_removed_total",
            "tasker_dead_letters_expired_total",
            "tasker_idempotency_keys_deleted_total",
            "tasker_partitions_dropped_total",
            "tasker_partitions_created_total",
        ])
        .await;
    }

    /// A worker that is declared dead releases its runs, unless the leader recovers them first.
    async fn released_runs(&self) {
        while !self.scraper.moved("tasker_released_runs_total") {
            let id = self.server.submit(&long_running(600.0)).await;
            self.server.wait_for(&id, "running", SOON).await;
            self.sql("UPDATE workers SET status = 'dead', died_at = now()")
                .await;
            eventually("it runs again", SOON, async || {
                self.server.task(&id).await["runs"] == 2
            })
            .await;
            self.server
                .post(&format!("/tasks/{id}/cancel"), &Value::Null)
                .await;
            self.server.wait_for(&id, "cancelled", SOON).await;
        }
    }
}

async fn execute(db: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(db)
        .await
        .expect("the statement is valid");
}

/// Returns SQL for the name of the partition `days` from today.
fn day(table: &str, days: i32) -> String {
    format!("'{table}_' || to_char(now() AT TIME ZONE 'UTC' + interval '{days} days', 'YYYYMMDD')")
}
