//! `http_request`: calls a URL. Private addresses are rejected unless the operator lists them, since every
//! submitter could otherwise reach services that only this worker can reach.

mod body;
mod guard;
mod retry_after;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tasker_config::AllowList;
use url::Url;

use crate::any_json::AnyJson;
use crate::{RETRIES, retried_quickly};
use body::BodyEncoding;
use guard::Guard;
use retry_after::retry_after;
use tasker_worker::{AnyTaskType, Context, TaskError, TaskType};

/// Maximum number of bytes of a decompressed body in the result; the rest is not read.
const BODY_BYTES: usize = 256 * 1024;

/// A request to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// `http` or `https`.
    #[schemars(url)]
    url: String,
    /// `GET` by default.
    #[serde(default)]
    method: RequestMethod,
    /// Sent as they are. `Idempotency-Key` is the task's id unless it is given.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Sent as it is.
    #[serde(default)]
    body: Option<String>,
    /// Sent as JSON; not together with `body`.
    #[serde(default)]
    json: Option<AnyJson>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum RequestMethod {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl From<RequestMethod> for Method {
    fn from(method: RequestMethod) -> Self {
        match method {
            RequestMethod::Get => Self::GET,
            RequestMethod::Head => Self::HEAD,
            RequestMethod::Post => Self::POST,
            RequestMethod::Put => Self::PUT,
            RequestMethod::Patch => Self::PATCH,
            RequestMethod::Delete => Self::DELETE,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Report {
    status: u16,
    headers: BTreeMap<String, String>,
    /// The body, decompressed: as text, or in base64 where it is not text.
    body: String,
    body_encoding: BodyEncoding,
    /// True if the body was longer than the limit.
    truncated: bool,
}

pub(super) fn task(private: AllowList) -> AnyTaskType {
    let guard = Arc::new(Guard::new(private));
    // built at the first request, so that a worker without such tasks does not pay for it
    let client = Arc::new(std::sync::OnceLock::<Client>::new());
    let task = TaskType::new("http_request", move |context, parameters| {
        let guard = Arc::clone(&guard);
        let client = Arc::clone(&client);
        async move {
            let client = match client.get() {
                Some(client) => client.clone(),
                None => client.get_or_init(|| Guard::client(&guard)).clone(),
            };
            run(&client, &guard, &context, parameters).await
        }
    });
    retried_quickly(task, RETRIES)
        .description(
            "Calls a URL; 2xx and 3xx succeed, 408, 429 and 5xx are retried, other responses fail. The result has up to \
             256 KiB of the decompressed body, as text or in base64 (`body_encoding`)",
        )
        .timeout(Duration::from_mins(1))
        .into()
}

async fn run(
    client: &Client,
    guard: &Guard,
    context: &Context,
    parameters: Parameters,
) -> Result<Report, TaskError> {
    let url = Url::parse(&parameters.url).map_err(|error| TaskError::fail(format!("url: {error}")))?;
    guard.check(&url).map_err(TaskError::fail)?;
    let mut request = client
        .request(parameters.method.into(), url)
        .headers(headers(&parameters.headers, context)?);
    match (parameters.body, parameters.json) {
        (Some(_), Some(_)) => return Err(TaskError::fail("give either `body` or `json`")),
        (Some(body), None) => request = request.body(body),
        (None, Some(json)) => request = request.json(&json),
        (None, None) => {}
    }
    let response = tokio::select! {
        response = request.send() => response.map_err(|error| guard::verdict(error.without_url()))?,
        () = context.cancelled().cancelled() => return Err(TaskError::fail("cancelled")),
    };
    check(response).await
}

fn headers(given: &BTreeMap<String, String>, context: &Context) -> Result<HeaderMap, TaskError> {
    let mut headers = HeaderMap::new();
    let key = HeaderValue::from_str(&context.task_id().to_string())?;
    headers.insert(HeaderName::from_static("idempotency-key"), key);
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| TaskError::fail(format!("headers: `{name}` is not a valid header name")))?;
        let value = HeaderValue::from_str(value).map_err(|_| {
            TaskError::fail(format!(
                "headers: the value of `{name}` is not a valid header value"
            ))
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

async fn check(response: Response) -> Result<Report, TaskError> {
    let status = response.status();
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    if passing {
        let text = format!("the server answered {status}");
        return Err(match retry_after(response.headers()) {
            Some(delay) => TaskError::retry_after(delay, text),
            None => TaskError::retry(text),
        });
    }
    if status.is_client_error() {
        return Err(TaskError::fail(format!("the server answered {status}")));
    }
    read(response).await
}

async fn read(mut response: Response) -> Result<Report, TaskError> {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let mut body = Vec::new();
    let mut truncated = false;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| TaskError::retry(error.without_url()))?
    {
        let space = BODY_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(space)]);
        if chunk.len() > space {
            truncated = true;
            break;
        }
    }
    let body = body::read(&body, content_type.as_deref(), truncated);
    Ok(Report {
        status,
        headers,
        body: body.text,
        body_encoding: body.encoding,
        truncated,
    })
}
