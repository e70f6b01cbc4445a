//! From the body of a single submit to its task.

use std::future::ready;

use chrono::{DateTime, Utc};

use super::headers::Headers;
use super::request::read_single;
use super::validate::{Rules, ValidTask, validate};
use crate::error::ApiError;
use crate::known_names::{KnownNames, NamesSnapshot};

/// Returns the validated task of a body.
pub async fn task(names: &KnownNames, headers: &Headers, body: &[u8]) -> Result<ValidTask, ApiError> {
    let request = read_single(body)?;
    let check = |names: NamesSnapshot| {
        let task = validate(&request, headers, rules(&names), "");
        ready(task.map_err(ApiError::Invalid))
    };
    names.checked(check).await
}

/// Returns the rules for a request that is received now.
pub(crate) fn rules(names: &NamesSnapshot) -> Rules<'_> {
    Rules {
        types: &names.types,
        queues: &names.queues,
        now: server_time(),
    }
}

/// Returns this server's time, which only limits how far ahead a `run_at` may be.
#[expect(
    clippy::disallowed_methods,
    reason = "decides nothing that Postgres's clock decides"
)]
fn server_time() -> DateTime<Utc> {
    Utc::now()
}
