//! Cursors of lists: where the next page begins, tied to the filter that it belongs to. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tasker_shared::task::TaskId;
use uuid::Uuid;

/// The form of what follows; a later form gets another number.
const VERSION: u8 = 1;
/// Bytes of an id.
const ID_BYTES: usize = 16;
/// Bytes of the check: enough that nothing fits by chance.
const CHECK_BYTES: usize = 8;

/// The cursor of the page below `id` in the list that `filter` describes.
pub fn encode(id: TaskId, filter: &str) -> String {
    let mut bytes = Vec::with_capacity(1 + ID_BYTES + CHECK_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(id.0.as_bytes());
    bytes.extend_from_slice(&check(id, filter));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The id in a cursor that [`encode`] made for the same filter.
pub fn decode(cursor: &str, filter: &str) -> Option<TaskId> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (id, found) = rest.split_at_checked(ID_BYTES)?;
    let id = TaskId(Uuid::from_slice(id).ok()?);
    (*version == VERSION && found == check(id, filter)).then_some(id)
}

fn check(id: TaskId, filter: &str) -> [u8; CHECK_BYTES] {
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
