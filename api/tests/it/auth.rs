//! Sign-in and roles.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::stream;
use serde_json::json;
use sqlx::PgPool;
use tasker_core::role::Role;
use tasker_server::auth::rules::{Access, RULES, Rule, find};
use tasker_store::migrations::MIGRATOR;
use tasker_store::task_types::{TaskType, publish};

use crate::client::{Client, SIGN_IN};
use crate::harness::{Server, task_type};

/// Returns a path that matches the rule's route and names objects that do not exist.
fn path_of(rule: &Rule) -> String {
    rule.path
        .replace("{id}", "018f0000-0000-7000-8000-000000000000")
        .replace("{name}", "low")
        .replace("{*rest}", "index.css")
}

/// Returns the rules of the routes of this router.
fn served(server: &Server) -> Vec<&'static Rule> {
    let paths = server.paths();
    RULES.iter().filter(|rule| paths.contains(rule.path)).collect()
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn every_route_has_a_rule_and_the_document_tells_of_it(db: PgPool) {
    let server = Server::start(db).await;
    let ruled: BTreeSet<&str> = RULES.iter().map(|rule| rule.path).collect();
    let paths = server.paths();
    assert!(paths.len() > 20, "{paths:?}");
    for path in &paths {
        assert!(ruled.contains(path.as_str()), "{path} has no rule");
    }
    let document = server.get("/api-docs/openapi.json").await.json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let rule = find(&method, path).unwrap_or_else(|| panic!("{method} {path} has no rule"));
            let open = operation["security"].as_array().expect("security").is_empty();
            let Access::Role(role) = rule.access else {
                assert!(open, "{method} {path}");
                continue;
            };
            assert!(!open, "{method} {path}");
            assert_eq!(operation["x-role"], role.as_str(), "{method} {path}");
            for status in ["401", "403", "429"] {
                assert!(
                    operation["responses"][status].is_object(),
                    "{method} {path} {status}"
                );
            }
        }
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn who_did_not_sign_in_takes_open_routes_only(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let anonymous = Client::new(&server, None);
    let mut open = Vec::new();
    for rule in served(&server) {
        let method: Method = rule.method.parse().expect("a method");
        let answer = anonymous.send(method, &path_of(rule), Body::empty()).await;
        if matches!(rule.access, Access::Role(_)) {
            assert_eq!(answer.problem(401), "unauthorized", "{rule:?}");
            let ways: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
            assert!(
                ways[0].to_str().is_ok_and(|way| way.starts_with("Basic")),
                "{ways:?}"
            );
        } else {
            assert_ne!(answer.status, 401, "{rule:?}");
            open.push(rule.path);
        }
    }
    assert!(
        open.contains(&"/health/ready") && open.contains(&"/metrics"),
        "{open:?}"
    );
    // unknown paths are 404 for every caller
    assert_eq!(anonymous.get("/nope").await.status, 404);
    assert_eq!(
        anonymous.send(Method::PUT, "/tasks", Body::empty()).await.status,
        405
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn each_role_takes_the_routes_of_its_rules_and_of_those_below(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    for role in Role::NAMES.iter().filter_map(|name| Role::parse(name)) {
        let request = json!({"name": role.as_str(), "role": role.as_str()});
        let client = Client::admin(&server).with_key(request).await;
        for rule in served(&server) {
            let Access::Role(needed) = rule.access else {
                continue;
            };
            let method: Method = rule.method.parse().expect("a method");
            let answer = client.send(method, &path_of(rule), Body::empty()).await;
            let refused = answer.status == 403 && answer.json()["code"] == "forbidden";
            assert_eq!(refused, role < needed, "{role} at {rule:?}: {}", answer.text);
            assert_ne!(answer.status, 401, "{role} at {rule:?}");
        }
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_password_is_changed_for_a_token_and_nothing_else_is(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let answer = admin.post("/auth/token", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let token = answer.json();
    assert_eq!(
        (&token["token_type"], &token["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    let bearer = Client::bearer(&server, token["access_token"].as_str().expect("a token"));
    assert_eq!(bearer.get("/tasks").await.status, 200);
    let (key, _) = bearer.make_key(json!({"name": "k", "role": "admin"})).await;
    for client in [bearer, Client::bearer(&server, &key)] {
        assert_eq!(
            client.post("/auth/token", json!({})).await.problem(403),
            "password_needed"
        );
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn servers_with_one_secret_take_each_others_tokens(db: PgPool) {
    let secret = ("TOKEN_SECRET", "bT9u0Yk3xQvG7rLwZ2hNcE5sJ8aMfD1pO6iUeXtW4yA=");
    let with_secret = [SIGN_IN[0], SIGN_IN[1], secret];
    let one = Server::start_with(db.clone(), &with_secret).await;
    let two = Server::start_with(db.clone(), &with_secret).await;
    let other = Server::start_with(db, &SIGN_IN).await;
    let token = Client::admin(&one).post("/auth/token", json!({})).await.json();
    let token = token["access_token"].as_str().expect("a token");
    assert_eq!(Client::bearer(&two, token).get("/tasks").await.status, 200);
    let refused = Client::bearer(&other, token).get("/tasks").await;
    assert_eq!(refused.problem(401), "invalid_credentials");
    for server in [one, two, other] {
        server.stop().await;
    }
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn without_sign_in_everybody_may_do_everything(db: PgPool) {
    let server = Server::start(db).await;
    let anonymous = Client::new(&server, None);
    assert_eq!(anonymous.get("/tasks").await.status, 200);
    assert_eq!(anonymous.get("/auth/keys").await.status, 200);
    // credentials are ignored
    assert_eq!(Client::bearer(&server, "tsk_x").get("/tasks").await.status, 200);
    assert_eq!(
        anonymous.post("/auth/token", json!({})).await.problem(409),
        "sign_in_off"
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn anonymous_is_let_in_by_sending_a_body_that_never_ends(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let endless = || Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = Client::new(&server, None)
        .send(Method::POST, "/tasks/submit", endless())
        .await;
    assert_eq!(answer.problem(401), "unauthorized");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn metrics_ask_for_sign_in_where_they_are_told_to(db: PgPool) {
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("METRICS_AUTH", "true")]).await;
    assert_eq!(
        Client::new(&server, None).get("/metrics").await.problem(401),
        "unauthorized"
    );
    assert_eq!(Client::admin(&server).get("/metrics").await.status, 200);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_page_of_another_site_acts_on_nothing(db: PgPool) {
    let server = Server::start(db).await;
    let send = async |method: Method, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri("/queues/low/pause");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        server.send(request.body(Body::empty()).expect("a request")).await
    };
    let foreign = send(Method::POST, &[("sec-fetch-site", "cross-site")]).await;
    assert_eq!(foreign.problem(403), "cross_site");
    let foreign = send(
        Method::POST,
        &[("origin", "http://evil.example"), ("host", "tasker:8000")],
    )
    .await;
    assert_eq!(foreign.problem(403), "cross_site");
    assert_eq!(
        send(Method::POST, &[("sec-fetch-site", "same-origin")])
            .await
            .status,
        200
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_type_that_requires_an_operator_is_not_submitted_by_others(db: PgPool) {
    let restricted = TaskType {
        required_role: Some(Role::Operator),
        ..task_type("restricted")
    };
    publish(&db, &[restricted]).await.expect("published");
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let submitter = admin.with_key(json!({"name": "shop", "role": "submitter"})).await;
    let task = json!({"task_name": "restricted"});
    let single = submitter.post("/tasks/submit", task.clone()).await;
    assert_eq!(single.problem(403), "forbidden");
    let batch = submitter
        .post(
            "/tasks/submit/batch",
            json!({"tasks": [{"task_name": "noop"}, task.clone()]}),
        )
        .await;
    assert_eq!(batch.problem(403), "forbidden");
    assert_eq!(admin.post("/tasks/submit", task).await.status, 202);
    let operator = admin.with_key(json!({"name": "ops", "role": "operator"})).await;
    let task = json!({"task_name": "restricted"});
    assert_eq!(operator.post("/tasks/submit", task).await.status, 202);
    server.stop().await;
}
