//! The middleware around every route: access rule, sign-in, rate limit, role, audit event.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tasker_core::role::Role;
use tracing::{error, info};

use super::client::{address, is_cross_site};
use super::credentials;
use super::identity::Caller;
use super::rejection::AuthRejection;
use super::rules::{self, Access, Rule};
use super::sign_in::Auth;
use crate::error::ApiError;

/// The maximum length of a logged path. A valid path of any route is shorter.
const PATH_CHARS_MAX: usize = 256;

/// The object of a request for its audit event, set as a response extension by handlers whose path does not
/// name it.
#[derive(Debug, Clone)]
pub struct AuditTarget(pub String);

/// Passes a request to its route if the access rule of the route permits the caller.
pub async fn guard(State(auth): State<Arc<Auth>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("", MatchedPath::as_str);
    let Some(rule) = rules::find(request.method(), path) else {
        error!(http.route = path, method = %request.method(), "rejected a request to a route without an access rule");
        return ApiError::from(AuthRejection::NoRule).into_response();
    };
    let client = client(&auth, &request);
    // before the credentials are read: the browser sends those of the user along
    if is_cross_site(request.method(), request.headers()) {
        return ApiError::from(AuthRejection::CrossSite).into_response();
    }
    let needed = match rule.access {
        Access::Open => return next.run(request).await,
        Access::Metrics if !auth.guards_metrics => return next.run(request).await,
        Access::Metrics => Role::Viewer,
        Access::Role(needed) => needed,
    };
    let caller = match signed_in(&auth, request.headers(), client).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    // before the role check, so that rejected requests count too and cannot flood the audit log
    let rates = auth.rates.as_ref();
    if let Err(rejection) = rates.map_or(Ok(()), |rates| rates.request(&caller)) {
        return ApiError::from(rejection).into_response();
    }
    let has = caller.identity.role;
    let permitted = if has < needed {
        Err(AuthRejection::Role { has, needs: needed })
    } else {
        Ok(())
    };
    if !rule.audited {
        return run(permitted, caller, request, next).await;
    }
    // copied before the request moves into the handler; without the query, which is not part of what was
    // acted on
    let target: String = request.uri().path().chars().take(PATH_CHARS_MAX).collect();
    let response = run(permitted, caller.clone(), request, next).await;
    // handlers name the object where the path does not: for example the queue of `POST /queues`
    let target = match response.extensions().get::<AuditTarget>() {
        Some(AuditTarget(name)) => format!("{target}/{name}"),
        None => target,
    };
    log_audit_event(&caller, rule, &target, &response);
    response
}

async fn run(
    permitted: Result<(), AuthRejection>,
    caller: Caller,
    mut request: Request,
    next: Next,
) -> Response {
    match permitted {
        Ok(()) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(rejection) => ApiError::from(rejection).into_response(),
    }
}

async fn signed_in(auth: &Auth, headers: &HeaderMap, address: IpAddr) -> Result<Caller, ApiError> {
    let identity = if auth.is_on() {
        match credentials::read(headers) {
            // boxed: this future is larger than the rest of a request's together
            Ok(Some(credentials)) => Box::pin(auth.identify(credentials, address)).await?,
            Ok(None) => return Err(AuthRejection::Missing.into()),
            Err(credentials::Unreadable) => {
                return Err(auth.failed(address, "unreadable credentials").into());
            }
        }
    } else {
        Arc::clone(&auth.anonymous)
    };
    Ok(Caller { identity, address })
}

fn client(auth: &Auth, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    // absent only where the router is called without a listener
    let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip());
    address(peer, request.headers(), &auth.proxies)
}

/// Logs one audit event: the actor, its address, the route, the object and the status.
fn log_audit_event(caller: &Caller, rule: &Rule, target: &str, response: &Response) {
    info!(
        actor = caller.name(),
        client.address = %caller.address,
        http.route = rule.path,
        method = rule.method,
        target,
        status = response.status().as_u16(),
        "audit event"
    );
}
