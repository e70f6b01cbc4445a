//! The reading of request bodies: frame by frame, each counted against the memory budget before the next is
//! read.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::auth::{Caller, QuotaKey, SignedInBy};
use crate::error::ApiError;
use crate::http::budget::{MemoryBudget, Reservation};
use crate::http::encoding::{Decoder, Encoding, PIECE_BYTES};

/// The maximum size of a batch body.
const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The memory budget of single-submit bodies, or twice the largest body if that is more: one caller may use
/// half of a budget, and its largest body has to fit.
const SINGLE_BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// The memory budget of batch bodies: three of the largest.
const BATCH_BUDGET_BYTES: usize = 3 * BATCH_BYTES_MAX;
/// The time limit for reading a body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of bytes that are discarded of a body that is too large. A client that is still sending would
/// not see the answer if the connection were closed.
const DRAINED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The time limit for discarding.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The memory budgets and size limits of the bodies of this server.
#[derive(Debug, Clone)]
pub struct BodyBudgets {
    /// The budget of single-submit bodies.
    pub single: MemoryBudget,
    /// The budget of batch bodies.
    pub batch: MemoryBudget,
    /// The maximum size of a body other than a batch, and of one task of a batch, in bytes.
    pub bytes_max: usize,
}

impl BodyBudgets {
    /// Creates unused budgets for bodies of up to `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            single: MemoryBudget::new(SINGLE_BUDGET_BYTES.max(2 * bytes_max)),
            batch: MemoryBudget::new(BATCH_BUDGET_BYTES),
            bytes_max,
        }
    }
}

/// The body of a single submit, with its memory reservation.
#[derive(Debug)]
pub struct SingleBody(pub Bytes, pub Reservation);

/// A template in JSON or YAML, with its memory reservation.
#[derive(Debug)]
pub struct TemplateBody(pub Bytes, pub Reservation);

/// The body of a batch, with its memory reservation.
#[derive(Debug)]
pub struct BatchBody(pub Bytes, pub Reservation);

impl<S: Sync> FromRequest<S> for SingleBody
where
    BodyBudgets: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let budgets = BodyBudgets::from_ref(state);
        let (bytes, held) = json_body(request, &budgets.single, budgets.bytes_max).await?;
        Ok(Self(bytes, held))
    }
}

impl<S: Sync> FromRequest<S> for BatchBody
where
    BodyBudgets: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let budgets = BodyBudgets::from_ref(state);
        let (bytes, held) = json_body(request, &budgets.batch, BATCH_BYTES_MAX).await?;
        Ok(Self(bytes, held))
    }
}

impl<S: Sync> FromRequest<S> for TemplateBody
where
    BodyBudgets: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let budgets = BodyBudgets::from_ref(state);
        if !is_json(request.headers()) && !is_yaml(request.headers()) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let (bytes, held) = body(request, &budgets.single, budgets.bytes_max).await?;
        Ok(Self(bytes, held))
    }
}

async fn json_body(
    request: Request,
    budget: &MemoryBudget,
    limit: usize,
) -> Result<(Bytes, Reservation), ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::UnsupportedMediaType);
    }
    body(request, budget, limit).await
}

async fn body(
    request: Request,
    budget: &MemoryBudget,
    limit: usize,
) -> Result<(Bytes, Reservation), ApiError> {
    let headers = request.headers();
    let encoding = Encoding::read(headers)?;
    // an announced size is checked before the first byte is read; others are counted while reading
    let announced = content_length(headers);
    // a client with `Expect: 100-continue` has not sent its body yet, so there is none to discard
    let asks_first = headers.contains_key(header::EXPECT);
    let owner = request.extensions().get::<Caller>().and_then(owner);
    let mut body = request.into_body();
    if announced.is_some_and(|length| length > limit) {
        if !asks_first {
            drain(&mut body).await;
        }
        return Err(ApiError::BodyTooLarge(limit));
    }
    let reading = async {
        match encoding {
            None => read(&mut body, budget, owner, limit).await,
            Some(encoding) => read_encoded(&mut body, encoding, budget, owner, limit).await,
        }
    };
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Err(error @ ApiError::BodyTooLarge(_))) => {
            drain(&mut body).await;
            Err(error)
        }
        Ok(result) => result,
        Err(_) => Err(ApiError::Malformed(
            "The body was not received in time.".to_owned(),
        )),
    }
}

/// Returns the quota that a body counts against. Without sign-in the programs of this machine are
/// indistinguishable, and share the whole budget: `None`.
fn owner(caller: &Caller) -> Option<QuotaKey> {
    let unknown = caller.identity.by == SignedInBy::Anonymous && caller.address.to_canonical().is_loopback();
    (!unknown).then(|| caller.quota_key())
}

async fn read(
    body: &mut Body,
    budget: &MemoryBudget,
    owner: Option<QuotaKey>,
    limit: usize,
) -> Result<(Bytes, Reservation), ApiError> {
    let mut held = budget.begin(owner)?;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broke_off())?;
        // trailers are ignored
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(ApiError::BodyTooLarge(limit));
        }
        held.grow(budget, data.len())?;
        // most bodies are one frame, which needs no copy
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    let bytes = if all.is_empty() { first } else { all.freeze() };
    Ok((bytes, held))
}

/// Reads a compressed body; `limit` is the maximum size of the decoded one.
async fn read_encoded(
    body: &mut Body,
    encoding: Encoding,
    budget: &MemoryBudget,
    owner: Option<QuotaKey>,
    limit: usize,
) -> Result<(Bytes, Reservation), ApiError> {
    let mut decoder = Decoder::new(encoding, limit, budget.begin(owner)?, budget);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broke_off())?;
        let Ok(data) = frame.into_data() else { continue };
        for piece in data.chunks(PIECE_BYTES) {
            decoder.write(piece)?;
            // decoding a piece may take a while, and other requests wait for this thread
            tokio::task::yield_now().await;
        }
    }
    decoder.finish()
}

fn broke_off() -> ApiError {
    ApiError::Malformed("The body was not received completely.".to_owned())
}

async fn drain(body: &mut Body) {
    let throw_away = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DRAINED_BYTES_MAX {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, throw_away).await;
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns true if the content type is JSON in UTF-8 or its subset ASCII. Of several headers each has to be.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter().peekable();
    types.peek().is_some() && types.all(|value| value.to_str().is_ok_and(is_json_type))
}

fn is_yaml(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|text| text.split(';').next()).unwrap_or_default();
    matches!(
        essence.trim().to_ascii_lowercase().as_str(),
        "application/yaml" | "application/x-yaml" | "text/yaml"
    )
}

fn is_json_type(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            let value = value.trim_matches('"').to_ascii_lowercase();
            matches!(value.as_str(), "utf-8" | "utf8" | "us-ascii")
        }
        _ => true,
    });
    json && utf8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_json_in_utf8_or_another() {
        let judged = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().expect("a header value"));
            is_json(&headers)
        };
        for text in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/vnd.x+json",
            "application/json;charset=utf8",
            "application/json; charset=\"us-ascii\"; q=1",
        ] {
            assert!(judged(text), "{text}");
        }
        for text in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "",
        ] {
            assert!(!judged(text), "{text}");
        }
        assert!(!is_json(&HeaderMap::new()));
        let mut two = HeaderMap::new();
        for (text, judged) in [("application/json", true), ("text/plain", false)] {
            two.append(header::CONTENT_TYPE, text.parse().expect("a header value"));
            assert_eq!(is_json(&two), judged, "{two:?}");
        }
    }
}
