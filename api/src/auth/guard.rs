//! The layer around every route.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tasker_shared::role::Role;
use tracing::{error, info};

use super::client::{address, is_cross_site};
use super::identity::Caller;
use super::rejection::AuthRejection;
use super::rules::{self, Access, Rule};
use super::{Auth, credentials};
use crate::error::ApiError;
use crate::state::AppState;

/// The longest path that is logged; longer ones are no route's with a sane id.
const PATH_CHARS_MAX: usize = 256;

/// The name of what a request acted on, in the extensions of its response where the path does not have it: for the audit line.
#[derive(Debug, Clone)]
pub struct AuditTarget(pub String);

/// Lets a request through to its route if the rule of that allows it.
pub async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("", MatchedPath::as_str);
    let Some(rule) = rules::find(request.method(), path) else {
        error!(http.route = path, method = %request.method(), "a route without a rule is refused");
        return ApiError::from(AuthRejection::NoRule).into_response();
    };
    let auth = &state.auth;
    let client = client(auth, &request);
    if is_cross_site(request.method(), request.headers()) {
        return ApiError::from(AuthRejection::CrossSite).into_response();
    }
    let needed = match rule.access {
        Access::Open => return next.run(request).await,
        Access::Metrics if !auth.guards_metrics => return next.run(request).await,
        Access::Metrics => Role::Viewer,
        Access::Role(needed) => needed,
    };
    let caller = match signed_in(auth, request.headers(), client).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    // first of all, so that what is refused for the role is counted too, and the log cannot be flooded
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
    if !rule.acts {
        return run(permitted, caller, request, next).await;
    }
    let target: String = request.uri().path().chars().take(PATH_CHARS_MAX).collect();
    let response = run(permitted, caller.clone(), request, next).await;
    let target = match response.extensions().get::<AuditTarget>() {
        Some(AuditTarget(name)) => format!("{target}/{name}"),
        None => target,
    };
    tell(&caller, rule, &target, &response);
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
            // on the heap: its room is more than that of the rest of a request together
            Ok(Some(credentials)) => Box::pin(auth.identify(credentials, address)).await?,
            Ok(None) => return Err(AuthRejection::Missing.into()),
            Err(credentials::Unreadable) => {
                return Err(auth.failed(address, "nothing that can be read").into());
            }
        }
    } else {
        Arc::clone(&auth.anonymous)
    };
    Ok(Caller { identity, address })
}

fn client(auth: &Auth, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip());
    address(peer, request.headers(), &auth.proxies)
}

/// Says who acted on what, from where, and what came of it: one line for each.
fn tell(caller: &Caller, rule: &Rule, target: &str, response: &Response) {
    info!(
        actor = caller.name(),
        client.address = %caller.address,
        http.route = rule.path,
        method = rule.method,
        target,
        status = response.status().as_u16(),
        "acted"
    );
}
