//! The templates that a worker publishes.

use serde_json::Value;
use sqlx::PgPool;
use tasker_store::templates;
use tasker_testkit::eventually;
use tasker_worker::{Context, RunError, TaskError, TaskType};

use crate::harness::{SOON, System};

const LINE: &str = "name: line\nnamespace: shapes\nsteps: [{name: a, handler: {callable: echo}}]\n";

async fn descriptions(db: &PgPool) -> Vec<String> {
    let listed = templates::all(db).await.expect("the templates");
    listed.into_iter().map(|one| one.description).collect()
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn a_worker_publishes_the_templates_of_its_folder_when_it_starts(db: PgPool) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |text: &str| std::fs::write(folder.path().join("line.yaml"), text).expect("writable");
    write(&format!("{LINE}description: first\n"));
    let system = System::new(db);
    let path = folder.path().to_str().expect("text");
    let settings = [("tasker-template-path", path)];
    let echo = TaskType::new("echo", |_: Context, _: Value| async { Ok::<_, TaskError>(()) });
    for (text, wanted) in [
        (format!("{LINE}description: first\n"), "first"),
        (format!("{LINE}description: second\n"), "second"),
    ] {
        write(&text);
        let worker = system.worker(vec![echo.clone()], &settings);
        eventually(&format!("the {wanted} is published"), SOON, async || {
            descriptions(&system.db).await == [wanted]
        })
        .await;
        worker.stop().await.expect("a clean stop");
    }
    assert_eq!(
        descriptions(&system.db).await,
        ["second"],
        "it stays when its worker is gone"
    );
}

#[sqlx::test(migrator = "tasker_testkit::MIGRATOR")]
async fn outside_of_development_a_published_version_never_changes_and_the_next_free_one_is_named(db: PgPool) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |text: &str| std::fs::write(folder.path().join("line.yaml"), text).expect("writable");
    let system = System::new(db);
    let path = folder.path().to_str().expect("text");
    let settings = [("tasker-template-path", path), ("tasker-env", "test")];
    let echo = TaskType::new("echo", |_: Context, _: Value| async { Ok::<_, TaskError>(()) });
    for version in ["1.0.0", "1.2.7"] {
        write(&format!("{LINE}version: {version}\n"));
        let worker = system.worker(vec![echo.clone()], &settings);
        eventually("it is published", SOON, async || {
            let versions = templates::versions(&system.db, "shapes", "line").await;
            versions.expect("versions").contains(&version.to_owned())
        })
        .await;
        worker.stop().await.expect("a clean stop");
    }
    write(&format!("{LINE}version: 1.0.0\ndescription: another\n"));
    let worker = system.worker(vec![echo], &settings);
    let error = worker.ended().await.expect_err("it ended");
    assert!(matches!(&error, RunError::TemplateVersions(_)), "{error}");
    for word in ["TASKER_TEMPLATE_PATH", "shapes/line 1.0.0", "1.2.8"] {
        assert!(error.to_string().contains(word), "{word} is missing in {error}");
    }
}
