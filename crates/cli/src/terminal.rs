//! What a terminal needs: progress that knows when to be silent, and text that cannot steer it.

mod clean;
mod progress;

pub(crate) use clean::{clean, clean_lines};
pub(crate) use progress::{Bar, Progress};
