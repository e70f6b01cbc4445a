//! Clients with credentials.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::harness::{Answer, Server};

/// The account of the operator.
pub(crate) const SIGN_IN: [(&str, &str); 2] = [
    ("EXECUTION_BACKEND_API_USER", "ops"),
    ("EXECUTION_BACKEND_API_PASSWORD", "kV8.mq2Zr-w7"),
];

/// A client with an address and an optional credentials header.
#[derive(Clone)]
pub(crate) struct Client<'a> {
    server: &'a Server,
    authorization: Option<String>,
    address: IpAddr,
}

impl<'a> Client<'a> {
    pub(crate) fn new(server: &'a Server, authorization: Option<String>) -> Self {
        Self {
            server,
            authorization,
            address: [127, 0, 0, 1].into(),
        }
    }

    pub(crate) fn password(server: &'a Server, user: &str, password: &str) -> Self {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Self::new(server, Some(format!("Basic {encoded}")))
    }

    pub(crate) fn admin(server: &'a Server) -> Self {
        Self::password(server, SIGN_IN[0].1, SIGN_IN[1].1)
    }

    pub(crate) fn bearer(server: &'a Server, text: &str) -> Self {
        Self::new(server, Some(format!("Bearer {text}")))
    }

    pub(crate) fn at(mut self, address: [u8; 4]) -> Self {
        self.address = address.into();
        self
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut request = request.body(body).expect("a request");
        let peer = ConnectInfo(SocketAddr::new(self.address, 50_000));
        request.extensions_mut().insert(peer);
        self.server.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Body::from(body.to_string())).await
    }

    /// Creates a key and returns it with its id.
    pub(crate) async fn make_key(&self, request: Value) -> (String, String) {
        let answer = self.post("/auth/keys", request).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.headers["cache-control"], "no-store");
        let created = answer.json();
        let text = |field: &str| created[field].as_str().expect("text").to_owned();
        (text("key"), text("id"))
    }

    /// Creates a key and returns a client that uses it.
    pub(crate) async fn with_key(&self, request: Value) -> Self {
        let (key, _) = self.make_key(request).await;
        Self::bearer(self.server, &key)
    }
}
