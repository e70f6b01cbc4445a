use sqlx::PgPool;
use tasker_store::{Error, ErrorKind};

use super::support::execute;

#[sqlx::test(migrations = false)]
async fn the_error_of_a_rejected_row_shows_none_of_its_values(db: PgPool) {
    execute(
        &db,
        "CREATE TABLE persons (name text UNIQUE, age integer CHECK (age < 200))",
    )
    .await;
    execute(&db, "INSERT INTO persons VALUES ('secret', 20)").await;
    for (sql, code) in [
        ("INSERT INTO persons VALUES ('secret', 30)", "23505"),
        ("INSERT INTO persons VALUES ('secret of another', 300)", "23514"),
        ("SELECT 'secret'::integer", "22P02"),
    ] {
        let rejected = sqlx::query(sql).execute(&db).await.expect_err(sql);
        assert!(
            format!("{rejected:?}").contains("secret"),
            "Postgres quotes the row: {rejected:?}"
        );
        let error = Error::from(rejected);
        assert_eq!(error.kind(), ErrorKind::Row);
        assert_eq!(error.code().as_deref(), Some(code));
        let shown = format!("{error} {error:?} {error:#?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(std::error::Error::source(&error).is_none());
    }
}
