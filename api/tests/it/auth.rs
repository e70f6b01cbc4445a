//! Sign-in and roles: who is let in, and what they may do.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_server::auth::rules::{Access, RULES, Rule, find};
use tasker_server::auth::{Counted, FAILURES_OF_AN_ADDRESS};
use tasker_shared::role::Role;
use tasker_shared::store::migrations::MIGRATOR;
use tasker_shared::store::task_types::publish;
use tokio::time::timeout;

use crate::harness::{Answer, Server, eventually, task_type};

pub(crate) const SIGN_IN: [(&str, &str); 2] = [
    ("EXECUTION_BACKEND_API_USER", "ops"),
    ("EXECUTION_BACKEND_API_PASSWORD", "kV8.mq2Zr-w7"),
];

/// Somebody at an address, signed in by a header.
#[derive(Clone)]
pub(crate) struct Client<'a> {
    server: &'a Server,
    authorization: Option<String>,
    address: IpAddr,
}

impl<'a> Client<'a> {
    pub(crate) fn new(server: &'a Server, authorization: Option<String>) -> Self {
        Self {
            server,
            authorization,
            address: [127, 0, 0, 1].into(),
        }
    }

    pub(crate) fn password(server: &'a Server, user: &str, password: &str) -> Self {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Self::new(server, Some(format!("Basic {encoded}")))
    }

    pub(crate) fn admin(server: &'a Server) -> Self {
        Self::password(server, SIGN_IN[0].1, SIGN_IN[1].1)
    }

    pub(crate) fn bearer(server: &'a Server, text: &str) -> Self {
        Self::new(server, Some(format!("Bearer {text}")))
    }

    fn at(mut self, address: [u8; 4]) -> Self {
        self.address = address.into();
        self
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut request = request.body(body).expect("a request");
        let peer = ConnectInfo(SocketAddr::new(self.address, 50_000));
        request.extensions_mut().insert(peer);
        self.server.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Body::from(body.to_string())).await
    }

    /// Makes a key and answers it with its id.
    pub(crate) async fn make_key(&self, request: Value) -> (String, String) {
        let answer = self.post("/auth/keys", request).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.headers["cache-control"], "no-store");
        let created = answer.json();
        let text = |field: &str| created[field].as_str().expect("text").to_owned();
        (text("key"), text("id"))
    }
}

/// A path that the rule's route matches, about things that do not exist.
fn path_of(rule: &Rule) -> String {
    rule.path
        .replace("{id}", "018f0000-0000-7000-8000-000000000000")
        .replace("{name}", "low")
        .replace("{*rest}", "index.css")
}

/// Rules of routes that this router has.
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
    let nobody = Client::new(&server, None);
    let mut open = Vec::new();
    for rule in served(&server) {
        let method: Method = rule.method.parse().expect("a method");
        let answer = nobody.send(method, &path_of(rule), Body::empty()).await;
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
    // what is not there is told to everybody
    assert_eq!(nobody.get("/nope").await.status, 404);
    assert_eq!(
        nobody.send(Method::PUT, "/tasks", Body::empty()).await.status,
        405
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn each_role_takes_the_routes_of_its_rules_and_of_those_below(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    for role in Role::ALL {
        let request = json!({"name": role.as_str(), "role": role.as_str()});
        let (key, _) = Client::admin(&server).make_key(request).await;
        let client = Client::bearer(&server, &key);
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
    let nobody = Client::new(&server, None);
    assert_eq!(nobody.get("/tasks").await.status, 200);
    assert_eq!(nobody.get("/auth/keys").await.status, 200);
    // credentials that somebody sends all the same harm nothing
    assert_eq!(Client::bearer(&server, "tsk_x").get("/tasks").await.status, 200);
    assert_eq!(
        nobody.post("/auth/token", json!({})).await.problem(409),
        "sign_in_off"
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn after_some_failures_an_address_waits_and_others_do_not(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let (key, _) = Client::admin(&server)
        .make_key(json!({"name": "k", "role": "viewer"}))
        .await;
    assert_eq!(
        Client::bearer(&server, &key)
            .at([10, 0, 0, 1])
            .get("/tasks")
            .await
            .status,
        200
    );
    for number in 0..FAILURES_OF_AN_ADDRESS {
        let client = match number % 3 {
            0 => Client::password(&server, "ops", "wrong"),
            1 => Client::bearer(&server, &format!("tsk_{number}")),
            _ => Client::bearer(&server, "a.b.c"),
        };
        let answer = client.at([10, 0, 0, 1]).get("/tasks").await;
        assert_eq!(answer.problem(401), "invalid_credentials");
    }
    for client in [
        Client::admin(&server),
        Client::bearer(&server, "tsk_another"),
        Client::bearer(&server, "a.b.c"),
    ] {
        let answer = client.at([10, 0, 0, 1]).get("/tasks").await;
        assert_eq!(answer.problem(429), "too_many_failures");
        let wait: u64 = answer.headers["retry-after"]
            .to_str()
            .expect("text")
            .parse()
            .expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
    }
    // who is known goes on, and so do others elsewhere
    assert_eq!(
        Client::bearer(&server, &key)
            .at([10, 0, 0, 1])
            .get("/tasks")
            .await
            .status,
        200
    );
    assert_eq!(
        Client::admin(&server)
            .at([10, 0, 0, 2])
            .get("/tasks")
            .await
            .status,
        200
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_name_is_guarded_against_guesses_from_everywhere(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let guess = async |user: &str, address: u8| {
        let client = Client::password(&server, user, "wrong").at([10, 0, 1, address]);
        client.get("/tasks").await.status
    };
    for address in 0..50 {
        assert_eq!(guess("ops", address).await, 401);
        assert_eq!(guess("nobody", address).await, 401);
    }
    // a name that there is not is answered like one that there is
    assert_eq!((guess("ops", 60).await, guess("nobody", 61).await), (429, 429));
    assert_eq!(guess("somebody-else", 62).await, 401);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn nobody_is_let_in_by_sending_a_body_that_never_ends(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let endless = || Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = Client::new(&server, None)
        .send(Method::POST, "/tasks/submit", endless())
        .await;
    assert_eq!(answer.problem(401), "unauthorized");
    server.stop().await;
}

/// What is sent of a body that never ends: nearly as much as a batch may have.
const ENDLESS_BYTES: usize = 30 * 1024 * 1024;

fn endless() -> Body {
    let piece = vec![b' '; ENDLESS_BYTES];
    let first = stream::once(async { Ok::<_, std::io::Error>(piece) });
    Body::from_stream(first.chain(stream::pending()))
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_client_whose_bodies_never_end_leaves_room_for_those_of_others(db: PgPool) {
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let request = json!({"name": "k", "role": "submitter"});
    let (key, _) = admin.make_key(request).await;
    let greedy = Client::bearer(&server, &key);
    let send = || greedy.send(Method::POST, "/tasks/submit/batch", endless());
    let mut waiting: FuturesUnordered<_> = (0..4).map(|_| send()).collect();
    for _ in 0..3 {
        let answer = timeout(Duration::from_secs(20), waiting.next());
        let answer = answer.await.expect("an answer").expect("four of them");
        assert_eq!(answer.problem(503), "overloaded");
        assert!(answer.text.contains("your other requests"), "{}", answer.text);
    }
    let batch = json!({"tasks": [{"task_name": "noop"}]});
    let other = async || admin.post("/tasks/submit/batch", batch).await;
    tokio::select! {
        _ = waiting.next() => panic!("the first body goes on"),
        answer = other() => assert_eq!(answer.status, 202, "{}", answer.text),
    }
    drop(waiting);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_largest_body_that_is_allowed_fits_into_a_share(db: PgPool) {
    const LARGEST: usize = 64 * 1024 * 1024;
    let largest = LARGEST.to_string();
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("MAX_BODY_BYTES", &largest)]).await;
    let room = &server.state.single_room;
    let mut held = room.begin(Some(Counted::Name("ops".into()))).expect("room");
    held.grow(room, LARGEST).expect("room");
    drop(held);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn without_sign_in_the_programs_of_a_machine_share_all_the_room(db: PgPool) {
    let server = Server::start(db).await;
    let anybody = Client::new(&server, None);
    let send = || anybody.send(Method::POST, "/tasks/submit/batch", endless());
    let mut waiting: FuturesUnordered<_> = (0..3).map(|_| send()).collect();
    tokio::select! {
        answer = waiting.next() => panic!("{answer:?}"),
        () = eventually(async || (server.state.batch_room.taken() >= 3 * ENDLESS_BYTES).then_some(())) => {}
    }
    drop(waiting);
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
async fn a_key_has_a_limit_of_its_own_and_health_has_none(db: PgPool) {
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("RATE_LIMIT_PER_KEY", "5/s")]).await;
    let admin = Client::admin(&server);
    let (one, _) = admin.make_key(json!({"name": "one", "role": "submitter"})).await;
    let (two, _) = admin.make_key(json!({"name": "two", "role": "submitter"})).await;
    let (one, two) = (Client::bearer(&server, &one), Client::bearer(&server, &two));
    let limited = eventually(async || {
        let answer = one.get("/tasks").await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(limited.problem(429), "rate_limited");
    assert_eq!(limited.headers["retry-after"], "1");
    assert_eq!(two.get("/tasks").await.status, 200, "it is another's limit");
    for _ in 0..20 {
        assert_eq!(one.get("/health").await.status, 200);
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn what_is_refused_for_the_role_counts_against_the_limit_too(db: PgPool) {
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("RATE_LIMIT_PER_KEY", "5/s")]).await;
    let (key, _) = Client::admin(&server)
        .make_key(json!({"name": "looks", "role": "viewer"}))
        .await;
    let viewer = Client::bearer(&server, &key);
    let refused = viewer.post("/queues/default/pause", json!({})).await;
    assert_eq!(refused.problem(403), "forbidden");
    let limited = eventually(async || {
        let answer = viewer.post("/queues/default/pause", json!({})).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(limited.problem(429), "rate_limited");
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_backup_takes_an_operator(db: PgPool) {
    publish(&db, &[task_type("task:backup")])
        .await
        .expect("published");
    let server = Server::start_with(db, &SIGN_IN).await;
    let admin = Client::admin(&server);
    let (key, _) = admin.make_key(json!({"name": "shop", "role": "submitter"})).await;
    let submitter = Client::bearer(&server, &key);
    let backup = json!({"task_name": "task:backup"});
    let single = submitter.post("/tasks/submit", backup.clone()).await;
    assert_eq!(single.problem(403), "forbidden");
    let batch = submitter
        .post("/tasks/submit/batch", json!({"tasks": [backup.clone()]}))
        .await;
    assert_eq!(batch.problem(403), "forbidden");
    assert_eq!(admin.post("/tasks/submit", backup).await.status, 202);
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_tasks_of_batches_count_one_by_one(db: PgPool) {
    let server = Server::start_with(db, &[SIGN_IN[0], SIGN_IN[1], ("RATE_LIMIT_PER_KEY", "50/s")]).await;
    let batch = async |tasks: usize| {
        let tasks = vec![json!({"task_name": "noop"}); tasks];
        Client::admin(&server)
            .post("/tasks/submit/batch", json!({"tasks": tasks}))
            .await
    };
    assert_eq!(batch(9_900).await.status, 202);
    let answer = batch(5_000).await;
    assert_eq!(answer.problem(429), "rate_limited");
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((10..=100).contains(&wait), "{wait}");
    assert_eq!(server.rows().await, 9_900);
    server.stop().await;
}
