use futures_util::future::join_all;
use sqlx::PgPool;
use tasker_store::templates::{NewTemplate, all, get, publish, versions};
use tasker_testkit::a_template;

use super::support::connections;

async fn row_versions(db: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT xmin::text FROM workflow_templates ORDER BY namespace, name, version")
        .fetch_all(db)
        .await
        .expect("rows")
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn what_was_published_is_listed_and_read_whole(db: PgPool) {
    publish(&db, &[a_template("1.0.0"), a_template("1.1.0-beta+7")])
        .await
        .expect("published");
    let listed = all(&db).await.expect("the templates");
    let [first, second] = &listed[..] else {
        panic!("two templates, not {}", listed.len())
    };
    assert_eq!(
        (first.namespace.as_str(), first.name.as_str()),
        ("shapes", "line")
    );
    assert_eq!((first.description.as_str(), first.steps), ("Two steps", 2));
    assert_eq!(second.version, "1.1.0-beta+7");
    let mut known = versions(&db, "shapes", "line").await.expect("versions");
    known.sort_unstable();
    assert_eq!(known, ["1.0.0", "1.1.0-beta+7"]);
    let stored = get(&db, "shapes", "line", "1.0.0")
        .await
        .expect("read")
        .expect("it is there");
    assert_eq!(stored.template, a_template("1.0.0").template);
    assert!(get(&db, "shapes", "line", "2.0.0").await.expect("read").is_none());
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn publishing_the_same_again_writes_nothing_and_a_change_is_taken(db: PgPool) {
    publish(&db, &[a_template("1.0.0"), a_template("2.0.0")])
        .await
        .expect("published");
    let before = row_versions(&db).await;
    publish(&db, &[a_template("2.0.0"), a_template("1.0.0")])
        .await
        .expect("published");
    assert_eq!(row_versions(&db).await, before);
    let changed = NewTemplate {
        description: "Other words".to_owned(),
        template: a_template("2.0.0").template.replace("Two steps", "Other words"),
        ..a_template("2.0.0")
    };
    publish(&db, &[a_template("1.0.0"), changed])
        .await
        .expect("published");
    let after = row_versions(&db).await;
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    assert_eq!(
        all(&db).await.expect("the templates")[1].description,
        "Other words"
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn workers_that_publish_the_same_templates_at_once_do_not_deadlock(db: PgPool) {
    let publishers = connections(&db, 8).await.into_iter().enumerate();
    join_all(publishers.map(async |(turn, mut connection)| {
        for round in 0..10 {
            let mut templates: Vec<NewTemplate> = (0..20)
                .map(|n| NewTemplate {
                    template: format!("{{\"of\": [{turn}, {round}]}}"),
                    ..a_template(&format!("{n}.0.0"))
                })
                .collect();
            if turn % 2 == 1 {
                templates.reverse();
            }
            publish(&mut connection, &templates).await.expect("no deadlock");
        }
    }))
    .await;
    assert_eq!(all(&db).await.expect("the templates").len(), 20);
}
