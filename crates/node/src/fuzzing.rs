//! Doors for `fuzz/`, which is the only one to set `cfg(fuzzing)`: parsers of outside bytes that nobody else may call.

use crate::control::FrameReader;
use crate::names::Answerable;
use crate::output::Lines;
use crate::workshop;
use std::time::Instant;

/// Bytes of a control channel, in two cuttings: both are understood alike.
pub fn frames(data: &[u8]) {
    let now = Instant::now();
    let whole = FrameReader::new().push(data, now).map(|frames| frames.len());
    let mut reader = FrameReader::new();
    let pieces = data.chunks(7).try_fold(0, |count, piece| Ok::<_, &str>(count + reader.push(piece, now)?.len()));
    assert_eq!(whole.is_ok(), pieces.is_ok());
    if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
}

/// A question, and an answer to it.
pub fn names(data: &[u8]) {
    Answerable::try_all(data);
}

/// The head of a request to the proxy of builds.
pub fn proxy(data: &[u8]) {
    workshop::read_head_of_proxy(data);
}

/// What a program prints, in two cuttings: the same lines, none of them too long.
pub fn output(data: &[u8]) {
    let lines = |size: usize| {
        let (mut cutter, mut lines) = (Lines::new(Instant::now()), Vec::new());
        data.chunks(size).for_each(|piece| cutter.push(piece, &mut lines));
        cutter.finish(&mut lines);
        lines
    };
    for line in lines(4096) {
        assert!(line.len() <= 4 * 1024, "{}", line.len());
        assert!(!line.contains('\n'));
    }
    assert_eq!(lines(4096).concat(), lines(13).concat());
}
