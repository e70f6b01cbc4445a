//! The table of access rules: every route has one, and requests to a route without a rule are rejected.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::Method;
use tasker_core::role::Role;

/// The access to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Without sign-in.
    Open,
    /// Without sign-in, or from viewer on where `METRICS_AUTH` is set.
    Metrics,
    /// Signed-in callers with this role or a higher one.
    Role(Role),
}

/// The access rule of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The method; GET includes HEAD.
    pub method: &'static str,
    /// The path template of the router.
    pub path: &'static str,
    /// The required access.
    pub access: Access,
    /// True if requests are logged as audit events.
    pub audited: bool,
}

const fn rule(access: Access, method: &'static str, path: &'static str) -> Rule {
    Rule {
        method,
        path,
        access,
        audited: false,
    }
}

const fn open(path: &'static str) -> Rule {
    rule(Access::Open, "GET", path)
}

const fn viewer(path: &'static str) -> Rule {
    rule(Access::Role(Role::Viewer), "GET", path)
}

const fn submitter(path: &'static str) -> Rule {
    rule(Access::Role(Role::Submitter), "POST", path)
}

const fn operator(method: &'static str, path: &'static str) -> Rule {
    audited(Role::Operator, method, path)
}

const fn admin(method: &'static str, path: &'static str) -> Rule {
    audited(Role::Admin, method, path)
}

const fn audited(role: Role, method: &'static str, path: &'static str) -> Rule {
    Rule {
        audited: true,
        ..rule(Access::Role(role), method, path)
    }
}

/// The rules of all routes.
pub static RULES: &[Rule] = &[
    submitter("/tasks/submit"),
    submitter("/tasks/submit/batch"),
    viewer("/tasks"),
    viewer("/tasks/types"),
    viewer("/tasks/totals"),
    viewer("/tasks/{id}"),
    viewer("/tasks/{id}/status"),
    viewer("/tasks/{id}/result"),
    viewer("/tasks/{id}/history"),
    viewer("/tasks/{id}/explain"),
    operator("DELETE", "/tasks/{id}"),
    operator("POST", "/tasks/{id}/cancel"),
    operator("POST", "/tasks/{id}/retry"),
    viewer("/queues"),
    operator("POST", "/queues"),
    viewer("/queues/{name}/scaling"),
    operator("POST", "/queues/{name}/pause"),
    operator("POST", "/queues/{name}/resume"),
    viewer("/dead-letters"),
    operator("POST", "/dead-letters/retry"),
    operator("POST", "/dead-letters/purge"),
    // aliases of the three above
    viewer("/dead-letter"),
    operator("POST", "/dead-letter/retry"),
    operator("POST", "/dead-letter/purge"),
    viewer("/workers"),
    viewer("/v1/templates"),
    operator("PUT", "/v1/templates"),
    submitter("/v1/templates/validate"),
    operator("DELETE", "/v1/templates/{namespace}/{name}/{version}"),
    viewer("/v1/templates/{namespace}/{name}"),
    viewer("/v1/templates/{namespace}/{name}/{version}"),
    submitter("/v1/workflows"),
    viewer("/v1/workflows"),
    viewer("/v1/workflows/{id}"),
    operator("DELETE", "/v1/workflows/{id}"),
    operator("POST", "/v1/workflows/{id}/cancel"),
    operator("POST", "/v1/workflows/{id}/give_up"),
    operator("POST", "/v1/workflows/{id}/retry"),
    viewer("/v1/workflows/{id}/history"),
    viewer("/v1/workflows/{id}/workflow_steps"),
    viewer("/v1/workflows/{id}/workflow_steps/{step}"),
    operator("PATCH", "/v1/workflows/{id}/workflow_steps/{step}"),
    // aliases of these
    submitter("/v1/tasks"),
    viewer("/v1/tasks"),
    viewer("/v1/tasks/{id}"),
    operator("DELETE", "/v1/tasks/{id}"),
    operator("POST", "/v1/tasks/{id}/cancel"),
    operator("POST", "/v1/tasks/{id}/give_up"),
    operator("POST", "/v1/tasks/{id}/retry"),
    viewer("/v1/tasks/{id}/history"),
    viewer("/v1/tasks/{id}/workflow_steps"),
    viewer("/v1/tasks/{id}/workflow_steps/{step}"),
    operator("PATCH", "/v1/tasks/{id}/workflow_steps/{step}"),
    audited(Role::Viewer, "POST", "/auth/token"),
    rule(Access::Role(Role::Admin), "GET", "/auth/keys"),
    admin("POST", "/auth/keys"),
    admin("DELETE", "/auth/keys/{id}"),
    open("/health"),
    open("/health/live"),
    open("/health/ready"),
    viewer("/health/detailed"),
    viewer("/health/orchestration"),
    rule(Access::Metrics, "GET", "/metrics"),
    viewer("/dashboard"),
    open("/problems/{code}"),
    open("/api-docs/openapi.json"),
    open("/api-docs/ui"),
    open("/api-docs/ui/"),
    open("/api-docs/ui/{*rest}"),
];

/// Returns the rule of a route, or `None` if the table lacks it.
pub fn find(method: &Method, path: &str) -> Option<&'static Rule> {
    static INDEX: LazyLock<HashMap<(&str, &str), &Rule>> = LazyLock::new(|| {
        RULES
            .iter()
            .map(|rule| ((rule.method, rule.path), rule))
            .collect()
    });
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    INDEX.get(&(method, path)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_has_two_rules() {
        let mut routes: Vec<_> = RULES.iter().map(|rule| (rule.method, rule.path)).collect();
        routes.sort_unstable();
        assert!(routes.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn whatever_changes_something_needs_more_than_to_look_and_is_told_in_the_log() {
        for rule in RULES
            .iter()
            .filter(|rule| rule.method != "GET" && rule.path != "/auth/token")
        {
            let Access::Role(role) = rule.access else {
                panic!("{rule:?} is open");
            };
            assert!(role >= Role::Submitter, "{rule:?}");
            assert_eq!(rule.audited, role >= Role::Operator, "{rule:?}");
        }
    }

    #[test]
    fn head_is_as_get_and_an_unknown_route_has_no_rule() {
        assert_eq!(find(&Method::HEAD, "/tasks"), find(&Method::GET, "/tasks"));
        assert!(find(&Method::HEAD, "/tasks").is_some());
        assert_eq!(find(&Method::PUT, "/tasks"), None);
        assert_eq!(find(&Method::GET, "/nope"), None);
    }
}
