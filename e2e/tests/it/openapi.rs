//! The OpenAPI document and its page, which must work without internet access.

use sqlx::PgPool;
use tasker_testkit::System;

/// Returns the values of all HTML attributes of this name.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let before = format!("{name}=\"");
    let rest = page.split(before.as_str()).skip(1);
    rest.filter_map(|rest| rest.split('"').next()).collect()
}

#[sqlx::test(migrations = false)]
async fn the_page_answers_and_loads_nothing_from_elsewhere(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let get = async |path: &str| {
        server
            .http
            .get(format!("{}{path}", server.url))
            .send()
            .await
            .expect("an answer")
    };
    let answer = get("/api-docs/ui").await;
    assert_eq!(answer.status(), 200);
    let folder = answer.url().path().to_owned();
    assert!(folder.ends_with('/'), "what it names stands beside it: {folder}");
    let page = answer.text().await.expect("text");
    let loaded = [attributes(&page, "src"), attributes(&page, "href")].concat();
    assert!(!loaded.is_empty(), "{page}");
    for file in loaded {
        assert!(!file.contains("//"), "{file} is elsewhere");
        let file = file.trim_start_matches("./");
        assert_eq!(get(&format!("{folder}{file}")).await.status(), 200, "{file}");
    }
}

#[sqlx::test(migrations = false)]
async fn the_document_lists_the_routes(db: PgPool) {
    let system = System::new(&db);
    let server = system.server(&[]).await;
    let (status, document) = server.get("/api-docs/openapi.json").await;
    assert_eq!(status, 200);
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    for route in [
        "/tasks/submit",
        "/tasks/submit/batch",
        "/tasks/{id}",
        "/tasks/{id}/cancel",
        "/queues",
        "/workers",
    ] {
        assert!(document["paths"][route].is_object(), "{route}");
    }
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/health/detailed",
        "/metrics",
    ] {
        assert_eq!(server.get(path).await.0, 200, "{path}");
    }
}
