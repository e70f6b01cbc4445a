//! The HTTP client: returns response bodies as text and problem documents as errors.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tasker_wire::Problem;
use url::{Host, Url};

use crate::error::ClientError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the longest `?wait`, which is 60 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A client of one Tasker server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: Option<String>,
}

impl Client {
    /// Creates a client of the server at `base` that sends `authorization` with each request.
    ///
    /// # Errors
    /// If the header cannot be sent, or the TLS backend cannot be initialised.
    pub fn new(base: Url, authorization: Option<String>) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(text) = &authorization {
            let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::Header)?;
            // keeps the credentials out of debug output
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // fails if a provider is installed already, which then stays
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "the provider is installed")]
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .default_headers(headers)
            .user_agent(concat!("tasker/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            // a proxy of HTTP_PROXY would resolve a loopback URL to its own host
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(ClientError::Setup)?,
            base,
            authorization,
        })
    }

    /// Returns the value of the `Authorization` header, `None` without credentials.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Returns the URL of the server.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Sends a GET and returns the body of a 2xx response.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, ClientError> {
        let url = self.url_with(path, query);
        let (status, text) = self.call(self.http.request(Method::GET, url)).await?;
        self.accept(status, text)
    }

    /// Posts `body` as JSON and returns the body of a 2xx response.
    pub async fn post(&self, path: &[&str], body: &impl Serialize) -> Result<String, ClientError> {
        self.post_with(path, &[], body).await
    }

    /// Posts `body` as JSON with a query string and returns the body of a 2xx response.
    pub async fn post_with(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<String, ClientError> {
        let url = self.url_with(path, query);
        let request = self.http.request(Method::POST, url).json(body);
        let (status, text) = self.call(request).await?;
        self.accept(status, text)
    }

    /// Patches with `body` as JSON and returns the body of a 2xx response.
    pub async fn patch(&self, path: &[&str], body: &impl Serialize) -> Result<String, ClientError> {
        let request = self.http.request(Method::PATCH, self.url(path)).json(body);
        let (status, text) = self.call(request).await?;
        self.accept(status, text)
    }

    /// Puts `body` unchanged, with its media type, and returns the body of a 2xx response.
    pub async fn put_text(
        &self,
        path: &[&str],
        media_type: &'static str,
        body: String,
    ) -> Result<String, ClientError> {
        let request = self.http.request(Method::PUT, self.url(path));
        let request = request
            .header(CONTENT_TYPE, HeaderValue::from_static(media_type))
            .body(body);
        let (status, text) = self.call(request).await?;
        self.accept(status, text)
    }

    /// Sends a DELETE and returns the body of a 2xx response.
    pub async fn delete(&self, path: &[&str]) -> Result<String, ClientError> {
        let (status, text) = self
            .call(self.http.request(Method::DELETE, self.url(path)))
            .await?;
        self.accept(status, text)
    }

    /// Sends a GET to a health route, whose 503 has the same body as its 200.
    pub async fn get_even_if_unavailable(&self, path: &[&str]) -> Result<String, ClientError> {
        let (status, text) = self.call(self.http.request(Method::GET, self.url(path))).await?;
        // a 503 of a proxy before the server has no JSON body
        if status == StatusCode::SERVICE_UNAVAILABLE && text.starts_with('{') {
            return Ok(text);
        }
        self.accept(status, text)
    }

    /// Parses a response body; fails with [`ClientError::Unexpected`].
    pub fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, ClientError> {
        serde_json::from_str(text).map_err(|error| self.unexpected(error.to_string()))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // the trailing slash of a base path would add an empty segment; `extend` escapes slashes in names
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn url_with(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.url(path);
        // without pairs `query_pairs_mut` would still append a `?`
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, String), ClientError> {
        let unreachable = |cause| ClientError::Unreachable {
            base: self.base.clone(),
            cause,
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        Ok((status, response.text().await.map_err(unreachable)?))
    }

    fn accept(&self, status: StatusCode, text: String) -> Result<String, ClientError> {
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Err(ClientError::Rejected(Box::new(problem))),
            // a proxy, or another program on this port
            Err(_) => Err(self.unexpected(format!("status {status} without a problem document"))),
        }
    }

    fn unexpected(&self, reason: String) -> ClientError {
        ClientError::Unexpected {
            base: self.base.clone(),
            reason,
        }
    }
}

/// Parses the value of `--url`.
pub fn parse_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("must be a URL like http://127.0.0.1:8000".to_owned()),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_encoded_below_the_base() {
        let client =
            Client::new(parse_url("http://localhost:1/root/").expect("a URL"), None).expect("a client");
        assert_eq!(
            client.url(&["tasks", "a/b"]).as_str(),
            "http://localhost:1/root/tasks/a%2Fb"
        );
    }
}
