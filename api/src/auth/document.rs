//! What the OpenAPI document says of sign-in: taken from the table of rules, so that both agree.

use axum::http::Method;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, OpenApi};

use super::rules::{self, Access};
use crate::openapi::problem;

/// The names of the ways to sign in.
const WAYS: [&str; 3] = ["password", "bearer", "api_key"];

/// Enters the ways to sign in, and who may take which route.
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
    for (way, scheme) in WAYS.into_iter().zip(schemes) {
        components.add_security_scheme(way, scheme);
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
        // an empty list means that none is needed
        Access::Open | Access::Metrics => return operation.security = Some(Vec::new()),
        Access::Role(role) => role,
    };
    let ways = if path == "/auth/token" { &WAYS[..1] } else { &WAYS };
    let requirement = |way: &&str| SecurityRequirement::new(*way, [] as [&str; 0]);
    operation.security = Some(ways.iter().map(requirement).collect());
    let role = ExtensionsBuilder::new().add("x-role", role.as_str()).build();
    operation.extensions.get_or_insert_default().merge(role);
    for (status, description) in [
        ("401", "Nobody signed in, or the credentials are wrong"),
        ("403", "The role is too low, or the queue not allowed"),
        (
            "429",
            "Too many requests, or too many sign-ins failed; see `Retry-After`",
        ),
    ] {
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert_with(|| problem(description).into());
    }
}
