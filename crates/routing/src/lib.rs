//! Route tables: which file or function answers a path, and with which query. Pure: no I/O, no HTTP types.
//!
//! ```text
//! "/api/user/7%2F8?x=1" ─ RequestPath::parse ─► "/api/user/7%2F8"
//!      ─ Table::find ─► start routes → what exists at the path → filesystem routes (check: the destination exists)
//!      ─► found, query "x=1&id=7%2F8"
//! ```

mod ask;
mod condition;
mod escape;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lower;
mod origin;
mod path;
mod pattern;
mod query;
mod source;
mod table;
mod template;

pub use ask::Ask;
pub use escape::{dest_literal, query_literal, src_literal};
pub use lower::{LowerError, clean_urls, headers, redirect, rewrite, trailing_slash};
pub use origin::is_elsewhere;
pub use path::{PathError, RequestPath};
pub use table::{Match, Outcome, RouteError, Stalled, Table};
