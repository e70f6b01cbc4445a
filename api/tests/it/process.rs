//! The binary: migrations at start, shutdown, exit codes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tasker_core::task::TaskId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The time limit for each step of a process.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command of the binary with the database of `db`.
fn server(db: &PgPool) -> Command {
    let base = std::env::var("DATABASE_URL").expect("DATABASE_URL is set");
    let mut url = url::Url::parse(&base).expect("a URL");
    url.set_path(db.connect_options().get_database().expect("a database"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasker-server"));
    command
        .env_clear()
        .env("DATABASE_URL", url.as_str())
        .env("REDIS_URL", std::env::var("REDIS_URL").expect("REDIS_URL is set"))
        .env("QUEUE_KEY_PREFIX", format!("test:{}:", TaskId::generate()))
        .env("LISTEN_ADDRS", "127.0.0.1:0")
        .env("LOG_FORMAT", "json")
        .env("DB_POOL_SIZE", "2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A process that is killed on drop.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let out = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// Reads the log until a line contains `text`, and returns that line.
    fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no line with {text}: {error}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    fn exit_code(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn output(mut command: Command) -> Output {
    command.output().expect("it runs")
}

#[sqlx::test(migrations = false)]
async fn twenty_servers_that_start_at_once_on_an_empty_database_come_up_clean(db: PgPool) {
    let servers: Vec<Running> = (0..20).map(|_| Running::start(server(&db))).collect();
    for running in &servers {
        running.line_with("\"ready\"");
    }
    for running in &servers {
        running.signal();
    }
    for running in servers {
        assert_eq!(running.exit_code(), Some(0));
    }
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success")
        .fetch_one(&db)
        .await
        .expect("a count");
    assert!(applied > 0);
}

/// Waits until the server is ready and returns its address.
fn listening(running: &Running) -> String {
    listening_on(running, "127.0.0.1")
}

/// Waits until the server, which listens on `host`, is ready; returns its address on loopback.
fn listening_on(running: &Running, host: &str) -> String {
    let line = running.line_with("listening");
    let port = line
        .split(&format!("{host}:"))
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("an address");
    running.line_with("\"ready\"");
    format!("127.0.0.1:{port}")
}

#[sqlx::test(migrations = false)]
async fn a_stop_answers_what_waits_and_ends_with_zero(db: PgPool) {
    let running = Running::start(server(&db));
    let address = listening(&running);
    let id = TaskId::generate();
    sqlx::query(
        "INSERT INTO tasks (id, task_name, queue, priority, parameters, metadata, tags, status, max_attempts,
                            correlation_id, timeout_seconds, enqueued_at)
         VALUES ($1, 'x', 'default', 0, '{}', '{}', '{}', 'pending', 1, 'c', 1, now())",
    )
    .bind(id.0)
    .execute(&db)
    .await
    .expect("a row");
    let mut stream = TcpStream::connect(&address).await.expect("connected");
    let request = format!("GET /tasks/{id}?wait=50 HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    // a second request on another connection is answered only after the first one was read
    crate::harness::eventually(async || {
        let mut probe = TcpStream::connect(&address).await.ok()?;
        probe
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .ok()?;
        let mut text = String::new();
        probe.read_to_string(&mut text).await.ok()?;
        text.contains("200 OK").then_some(())
    })
    .await;
    let began = Instant::now();
    running.signal();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains(&id.to_string()), "{answer}");
    assert_eq!(running.exit_code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[sqlx::test(migrations = false)]
async fn who_sends_a_batch_that_is_too_large_to_its_end_still_sees_the_answer(db: PgPool) {
    let running = Running::start(server(&db));
    let mut stream = TcpStream::connect(listening(&running)).await.expect("connected");
    let body = vec![b' '; 40_000_000];
    let head = format!(
        "POST /tasks/submit/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&body).await.expect("sent to the end");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
}

#[sqlx::test(migrations = false)]
async fn migrations_can_be_run_and_shown_by_hand(db: PgPool) {
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let migrate = |action: &str| {
        let mut command = server(&db);
        command.args(["migrate", action]);
        output(command)
    };
    let before = migrate("status");
    assert_eq!(before.status.code(), Some(0));
    assert!(
        text(&before).contains("pending") && !text(&before).contains("applied"),
        "{}",
        text(&before)
    );
    assert_eq!(migrate("run").status.code(), Some(0));
    assert_eq!(
        migrate("run").status.code(),
        Some(0),
        "a second time finds nothing to do"
    );
    let after = migrate("status");
    assert!(
        text(&after).contains("applied") && !text(&after).contains("pending"),
        "{}",
        text(&after)
    );
    let mut only = server(&db);
    only.env("DEPLOYMENT_MODE", "migrate-only");
    assert_eq!(output(only).status.code(), Some(0));
}

#[sqlx::test(migrations = false)]
async fn a_server_that_does_not_migrate_waits_for_the_schema(db: PgPool) {
    let mut waiting = server(&db);
    waiting.env("DEPLOYMENT_MODE", "no-migrate");
    let waiting = Running::start(waiting);
    waiting.line_with("waiting for the schema");
    let mut migrate = server(&db);
    migrate.args(["migrate", "run"]);
    assert!(output(migrate).status.success());
    waiting.line_with("\"ready\"");
    waiting.signal();
    assert_eq!(waiting.exit_code(), Some(0));

    let mut impatient = server(&db);
    impatient
        .env("RUN_MIGRATIONS", "false")
        .env("DB_MIGRATION_TIMEOUT", "1s");
    sqlx::query("DELETE FROM _sqlx_migrations")
        .execute(&db)
        .await
        .expect("deleted");
    assert_eq!(output(impatient).status.code(), Some(124));
}

#[sqlx::test(migrations = false)]
async fn a_postgres_that_never_comes_ends_with_124(db: PgPool) {
    let mut command = server(&db);
    command
        .env("DATABASE_URL", "postgres://user@127.0.0.1:1/none")
        .env("DB_MIGRATION_TIMEOUT", "1");
    assert_eq!(output(command).status.code(), Some(124));
}

#[sqlx::test(migrations = false)]
async fn a_port_that_is_taken_is_a_clear_error(db: PgPool) {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = server(&db);
    command.env("LISTEN_ADDRS", &address);
    let output = output(command);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stdout);
    assert!(log.contains(&format!("cannot listen on {address}")), "{log}");
}

#[sqlx::test(migrations = false)]
async fn a_bad_configuration_ends_with_78(db: PgPool) {
    let mut command = server(&db);
    command
        .env("LISTEN_ADDRS", "0.0.0.0:8000")
        .env("DB_POOL_SIZE", "many");
    let output = output(command);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("LISTEN_ADDRS") && text.contains("DB_POOL_SIZE"),
        "{text}"
    );
}

#[sqlx::test(migrations = false)]
async fn with_sign_in_off_a_server_listens_beyond_loopback_and_asks_for_no_credentials(db: PgPool) {
    let mut command = server(&db);
    command.env("LISTEN_ADDRS", "0.0.0.0:0").env("SIGN_IN", "off");
    let running = Running::start(command);
    running.line_with("sign-in is off");
    let mut stream = TcpStream::connect(listening_on(&running, "0.0.0.0"))
        .await
        .expect("connected");
    stream
        .write_all(b"GET /tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[sqlx::test(migrations = false)]
async fn sign_in_off_ends_with_78_in_production_and_beside_credentials(db: PgPool) {
    for (name, value) in [
        ("TASKER_ENV", "production"),
        ("EXECUTION_BACKEND_API_USER", "ops"),
    ] {
        let mut command = server(&db);
        command.env("SIGN_IN", "off").env(name, value);
        let output = output(command);
        assert_eq!(output.status.code(), Some(78));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("SIGN_IN") && text.contains(name), "{text}");
    }
}
