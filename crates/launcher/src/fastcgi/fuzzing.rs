//! What an interpreter answers, for the door in the crate's root.

use super::record::take;
use bytes::BytesMut;

/// Records of an answer: each takes at least its head, and no more than there is.
pub(crate) fn records(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    loop {
        let before = buffer.len();
        if take(&mut buffer).is_none() {
            assert_eq!(buffer.len(), before);
            return;
        }
        assert!(buffer.len() + 8 <= before);
    }
}
