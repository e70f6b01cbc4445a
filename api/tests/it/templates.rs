//! The routes of published templates.

use serde_json::{Value, json};
use sqlx::PgPool;
use tasker_store::migrations::MIGRATOR;
use tasker_store::templates::{NewTemplate, publish};
use tasker_testkit::a_template;

use crate::harness::Server;

async fn ok(server: &Server, path: &str) -> Value {
    let answer = server.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn templates_are_listed_by_name_with_the_newest_version_first(db: PgPool) {
    let server = Server::start(db.clone()).await;
    assert_eq!(ok(&server, "/v1/templates").await, json!({"templates": []}));
    let mut templates = ["1.9.0", "1.10.0", "1.10.0-rc.1"].map(a_template).to_vec();
    templates.push(NewTemplate {
        namespace: "another".to_owned(),
        ..a_template("1.0.0")
    });
    publish(&db, &templates).await.expect("published");
    let answer = ok(&server, "/v1/templates").await;
    let listed = answer["templates"].as_array().expect("a list");
    let ids: Vec<_> = listed
        .iter()
        .map(|one| format!("{} {}", one["namespace"], one["version"]).replace('"', ""))
        .collect();
    assert_eq!(
        ids,
        [
            "another 1.0.0",
            "shapes 1.10.0",
            "shapes 1.10.0-rc.1",
            "shapes 1.9.0"
        ]
    );
    assert_eq!(
        (&listed[0]["steps"], &listed[0]["description"]),
        (&json!(2), &json!("Two steps"))
    );
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_template_is_read_in_its_newest_or_in_a_given_version(db: PgPool) {
    let server = Server::start(db.clone()).await;
    publish(&db, &["2.0.0", "10.0.0", "1.0.0+build.7"].map(a_template))
        .await
        .expect("published");
    let newest = ok(&server, "/v1/templates/shapes/line").await;
    assert_eq!(newest["version"], json!("10.0.0"));
    assert_eq!(newest["versions"], json!(["10.0.0", "2.0.0", "1.0.0+build.7"]));
    let steps = &newest["template"]["steps"];
    assert_eq!(
        steps[1]["needs"],
        json!([{"step": "first", "on_failure": "fail"}])
    );
    assert_eq!(
        steps[0]["retry"]["max_attempts"],
        json!(3),
        "defaults are filled in"
    );
    let old = ok(&server, "/v1/templates/shapes/line/1.0.0%2Bbuild.7").await;
    assert_eq!(old["template"]["version"], json!("1.0.0+build.7"));
    server.stop().await;
}

#[sqlx::test(migrator = "MIGRATOR")]
async fn a_template_that_nobody_published_is_not_found(db: PgPool) {
    let server = Server::start(db.clone()).await;
    publish(&db, &[a_template("1.0.0")]).await.expect("published");
    for path in [
        "/v1/templates/shapes/circle",
        "/v1/templates/other/line",
        "/v1/templates/shapes/line/2.0.0",
        "/v1/templates/shapes/line/latest",
        "/v1/templates/shapes/%00",
        "/v1/templates/shapes/%ff",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        assert_eq!(answer.json()["code"], json!("template_not_found"), "{path}");
    }
    server.stop().await;
}
