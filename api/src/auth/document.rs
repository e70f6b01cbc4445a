//! The security section of the OpenAPI document, generated from the access rules so that the two cannot
//! differ.

use axum::http::Method;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, OpenApi};

use super::rules::{self, Access};
use crate::openapi::problem_groups::problem;

/// The names of the security schemes.
const SCHEMES: [&str; 3] = ["password", "bearer", "api_key"];

/// Adds the security schemes, and to each operation its required role and its 401, 403 and 429 responses.
pub fn secure(document: &mut OpenApi) {
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of `POST /auth/token`, or an API key"));
    let key = ApiKeyValue::with_description("X-API-Key", "An API key");
    let schemes = [
        SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)),
        SecurityScheme::Http(bearer.build()),
        SecurityScheme::ApiKey(ApiKey::Header(key)),
    ];
    for (name, scheme) in SCHEMES.into_iter().zip(schemes) {
        components.add_security_scheme(name, scheme);
    }
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            if let Some(rule) = rules::find(&method, path) {
                secure_operation(operation, rule.path, rule.access);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let of = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    of.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn secure_operation(operation: &mut Operation, path: &str, access: Access) {
    let role = match access {
        // in OpenAPI an empty list overrides the default: no sign-in is needed
        Access::Open | Access::Metrics => return operation.security = Some(Vec::new()),
        Access::Role(role) => role,
    };
    // a token is issued for a password only
    let schemes = if path == "/auth/token" {
        &SCHEMES[..1]
    } else {
        &SCHEMES
    };
    let requirement = |scheme: &&str| SecurityRequirement::new(*scheme, [] as [&str; 0]);
    operation.security = Some(schemes.iter().map(requirement).collect());
    let role = ExtensionsBuilder::new().add("x-role", role.as_str()).build();
    operation.extensions.get_or_insert_default().merge(role);
    for (status, description) in [
        ("401", "Credentials are missing or wrong"),
        (
            "403",
            "The role or the allowed queues of the caller do not permit this",
        ),
        (
            "429",
            "Too many requests or too many failed sign-ins; see `Retry-After`",
        ),
    ] {
        let responses = &mut operation.responses.responses;
        // a response that the handler documents itself is kept
        responses
            .entry(status.to_owned())
            .or_insert_with(|| problem(description).into());
    }
}
