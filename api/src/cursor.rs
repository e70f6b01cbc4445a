//! Cursors of lists: the position of the next page, valid only for the filter that it was issued for. Pure
//! functions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tasker_core::task::TaskId;
use uuid::Uuid;

/// The version of the format that follows.
const VERSION: u8 = 1;
/// The size of an id in bytes.
const ID_BYTES: usize = 16;
/// The size of the checksum in bytes: enough to exclude accidental matches.
const CHECK_BYTES: usize = 8;

/// Returns the cursor of the page below `id` in the list of `filter`.
pub fn encode(id: TaskId, filter: &str) -> String {
    let mut bytes = Vec::with_capacity(1 + ID_BYTES + CHECK_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(id.0.as_bytes());
    bytes.extend_from_slice(&check(id, filter));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the id in a cursor that [`encode`] made for the same filter, else `None`.
pub fn decode(cursor: &str, filter: &str) -> Option<TaskId> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (id, found) = rest.split_at_checked(ID_BYTES)?;
    let id = TaskId(Uuid::from_slice(id).ok()?);
    (*version == VERSION && found == check(id, filter)).then_some(id)
}

fn check(id: TaskId, filter: &str) -> [u8; CHECK_BYTES] {
    // not secret: it finds mistakes such as a cursor used with another filter. A forged cursor gives access
    // only to what the caller's own filter permits
    let digest = Sha256::new()
        .chain_update(b"tasker list cursor")
        .chain_update(id.0.as_bytes())
        .chain_update(filter.as_bytes())
        .finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_id_with_the_same_filter_only() {
        let id = TaskId::generate();
        let cursor = encode(id, "status=pending");
        assert_eq!(decode(&cursor, "status=pending"), Some(id));
        assert_eq!(decode(&cursor, "status=running"), None);
    }

    #[test]
    fn a_forged_cursor_leads_nowhere() {
        let cursor = encode(TaskId::generate(), "");
        let mut forged = cursor.clone().into_bytes();
        forged[5] = if forged[5] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("ASCII");
        for text in [
            "",
            "x",
            "AAAA",
            "💥",
            &cursor[1..],
            &format!("{cursor}A"),
            &forged,
        ] {
            assert_eq!(decode(text, ""), None, "{text}");
        }
    }
}
