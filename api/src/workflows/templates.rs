//! Finds the definition of a published template.

use std::cmp::Reverse;

use semver::Version;
use tasker_store::templates;
use tasker_workflow::{Definition, from_stored};

use crate::db::Db;
use crate::error::ApiError;

/// The namespace of templates that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// Returns the definition of a template: of the given version, else of the newest.
pub(super) async fn find(
    db: &Db,
    name: &str,
    namespace: Option<&str>,
    version: Option<&str>,
) -> Result<Definition, ApiError> {
    let namespace = match namespace {
        Some(namespace) => namespace.to_owned(),
        None => only_namespace(db, name).await?,
    };
    let version = match version {
        Some(version) => version.to_owned(),
        None => newest(db, &namespace, name).await?,
    };
    let stored = templates::get(db, &namespace, name, &version)
        .await?
        .ok_or(ApiError::TemplateNotFound)?;
    from_stored(&stored.template).map_err(|invalid| {
        ApiError::Internal(format!(
            "template {namespace}/{name} {version} cannot be read: {invalid}"
        ))
    })
}

/// Returns the namespace of a template that is named without one: `default`, or the only one that has it.
async fn only_namespace(db: &Db, name: &str) -> Result<String, ApiError> {
    let mut found = templates::namespaces_of(db, name).await?;
    if found.iter().any(|namespace| namespace == DEFAULT_NAMESPACE) {
        return Ok(DEFAULT_NAMESPACE.to_owned());
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(ApiError::TemplateNotFound),
    }
}

async fn newest(db: &Db, namespace: &str, name: &str) -> Result<String, ApiError> {
    let mut versions = templates::versions(db, namespace, name).await?;
    versions.sort_by_cached_key(|version| Reverse(Version::parse(version).ok()));
    versions.into_iter().next().ok_or(ApiError::TemplateNotFound)
}
