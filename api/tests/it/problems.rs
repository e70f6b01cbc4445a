//! `GET /problems/{code}`, the target of the `type` of a problem.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use sqlx::PgPool;
use tasker_server::problems::ALL;
use tasker_store::migrations::MIGRATOR;

use crate::harness::{Answer, Server};

async fn get(server: &Server, path: &str, accept: &str) -> Answer {
    let request = Request::get(path).header("accept", accept).body(Body::empty());
    server.send(request.expect("a request")).await
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn the_address_of_every_problem_type_is_answered_without_sign_in(db: PgPool) {
    let signed_in = [
        ("EXECUTION_BACKEND_API_USER", "ops"),
        ("EXECUTION_BACKEND_API_PASSWORD", "a long passphrase of no use"),
        ("TOKEN_SECRET", "a secret of at least thirty-two characters"),
    ];
    let server = Server::start_with(db, &signed_in).await;
    assert_eq!(server.get("/tasks").await.problem(401), "unauthorized");
    for problem in ALL {
        let answer = server.get(&problem.address()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(
            answer.json(),
            json!({
                "type": problem.address(), "code": problem.code, "status": problem.status.as_u16(),
                "title": problem.title, "meaning": problem.meaning, "remedy": problem.remedy,
            })
        );
    }
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_browser_gets_a_page_and_an_unknown_code_is_not_found(db: PgPool) {
    let server = Server::start(db).await;
    let path = "/problems/filter_required";
    let page = get(&server, path, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8").await;
    assert!(
        page.headers["content-type"]
            .to_str()
            .is_ok_and(|kind| kind.starts_with("text/html"))
    );
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert!(
        page.text.contains("&quot;all&quot;: true") && !page.text.contains("\"all\""),
        "{}",
        page.text
    );
    for accept in [
        "*/*",
        "application/json",
        "application/json, text/html",
        "",
        "image/png",
    ] {
        assert_eq!(
            get(&server, path, accept).await.json()["code"],
            "filter_required",
            "{accept}"
        );
    }
    for path in ["/problems/nope", "/problems/%00", "/problems/%ff", "/problems/"] {
        assert_eq!(get(&server, path, "text/html").await.problem(404), "not_found");
    }
    server.stop().await;
}
