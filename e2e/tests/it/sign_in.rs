//! Sign-in with the built server and the command line, from an operator's point of view.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_testkit::System;

use crate::harness::Small;

const USER: &str = "ops";
const PASSWORD: &str = "kV8.mq2Zr-w7xyzzy";
const SECRET: &str = "bT9u0Yk3xQvG7rLwZ2hNcE5sJ8aMfD1pO6iUeXtW4yA=xyzzy";

/// Returns a production system, which requires sign-in.
fn in_production(db: &PgPool) -> System {
    System::new(db)
        .with("TASKER_ENV", "production")
        .with("RUST_LOG", "info,tasker_server=trace,tasker_config=trace,tasker_platform=trace,tasker_queue=trace,tasker_store=trace")
        .with("EXECUTION_BACKEND_API_USER", USER)
        .with("EXECUTION_BACKEND_API_PASSWORD", PASSWORD)
        .with("TOKEN_SECRET", SECRET)
}

/// Runs `tasker` with only these variables as credentials; returns its output.
async fn tasker(small: &Small, variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let mut environment = vec![
        ("TASKER_URL", small.server.url.as_str()),
        ("EXECUTION_BACKEND_API_USER", ""),
        ("EXECUTION_BACKEND_API_PASSWORD", ""),
    ];
    environment.extend_from_slice(variables);
    let mut process = small.system.run("tasker", arguments, &environment);
    (process.wait().await.code(), process.log())
}

#[sqlx::test(migrations = false)]
async fn keys_are_created_used_and_revoked_on_the_command_line_and_the_log_names_the_actor(db: PgPool) {
    let small = Small::on(in_production(&db)).await;
    let admin = [
        ("EXECUTION_BACKEND_API_USER", USER),
        ("EXECUTION_BACKEND_API_PASSWORD", PASSWORD),
    ];
    let (code, text) = tasker(&small, &[], &["task", "submit", "noop"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("401"), "{text}");

    let create = [
        "key", "create", "--name", "deploy", "--role", "operator", "--queue", "high", "--json",
    ];
    let (code, text) = tasker(&small, &admin, &create).await;
    assert_eq!(code, Some(0), "{text}");
    let created: Value = serde_json::from_str(&text).expect("JSON");
    let key = created["key"].as_str().expect("a key").to_owned();
    let signed = [("TASKER_API_KEY", key.as_str())];
    let (code, text) = tasker(
        &small,
        &signed,
        &["task", "submit", "noop", "--queue", "high", "--wait"],
    )
    .await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = tasker(&small, &signed, &["task", "submit", "noop", "--queue", "low"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("low_priority"), "{text}");
    let (code, text) = tasker(&small, &signed, &["queue", "pause", "high"]).await;
    assert_eq!(code, Some(0), "{text}");

    let (code, text) = tasker(&small, &admin, &["key", "revoke", "deploy"]).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = tasker(&small, &signed, &["queue", "list"]).await;
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = tasker(&small, &admin, &["key", "list"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("deploy") && text.contains("revoked") && !text.contains(&key),
        "{text}"
    );

    let logs = small.server.process.log();
    let acted: Vec<&str> = logs
        .lines()
        .filter(|line| line.contains("\"audit event\""))
        .collect();
    for (actor, target) in [(USER, "/auth/keys"), ("key:deploy", "/queues/high/pause")] {
        let told = |line: &&&str| line.contains(&format!("\"actor\":\"{actor}\"")) && line.contains(target);
        let line = acted
            .iter()
            .find(told)
            .unwrap_or_else(|| panic!("{actor} {target} is not in {acted:#?}"));
        assert!(line.contains("\"client.address\":\"127.0.0.1\""), "{line}");
    }
    assert!(logs.contains("sign-in failed"), "the revoked key");
    for secret in [&key, "xyzzy", &key[4..]] {
        assert!(!logs.contains(secret), "a secret is in the log");
    }
}

#[sqlx::test(migrations = false)]
async fn a_token_is_got_with_a_password_and_used_instead_of_it(db: PgPool) {
    let small = Small::on(in_production(&db)).await;
    let (http, url) = (&small.server.http, &small.server.url);
    let answer = http
        .post(format!("{url}/auth/token"))
        .basic_auth(USER, Some(PASSWORD))
        .send()
        .await
        .expect("an answer");
    let token: Value = answer.json().await.expect("JSON");
    let token = token["access_token"].as_str().expect("a token");
    let answer = http
        .post(format!("{url}/tasks/submit"))
        .bearer_auth(token)
        .json(&json!({"task_name": "noop"}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 202);
    let task: Value = answer.json().await.expect("JSON");
    let id = task["task_id"].as_str().expect("an id");
    let get = || {
        http.get(format!("{url}/tasks/{id}?wait=30"))
            .bearer_auth(token)
            .send()
    };
    let ended: Value = get().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(ended["status"], "completed");
}

#[tokio::test]
async fn production_without_secrets_ends_with_their_names() {
    let system = System::on("postgres://127.0.0.1:1/nothing", "redis://127.0.0.1:1");
    let mut process = system.run("tasker-server", &[], &[("TASKER_ENV", "production")]);
    assert_eq!(process.wait().await.code(), Some(78), "{}", process.log());
    for name in [
        "EXECUTION_BACKEND_API_USER",
        "EXECUTION_BACKEND_API_PASSWORD",
        "TOKEN_SECRET",
    ] {
        assert!(
            process.log().contains(name),
            "{name} is missing in {}",
            process.log()
        );
    }
}
