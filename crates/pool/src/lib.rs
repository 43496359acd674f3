//! Leases: who gets which instance when, and what becomes of it afterwards.
//!
//! ```text
//! acquire ─► desk of the deployment ── plan(demand, fleet, limits, now) ─► lease │ start │ freeze │ retire │ release
//!               ▲        ▲                                                   │
//!    keeper of each      └───────────── finish │ abandon ◄─────────────── Lease::send ─► InvocationBody
//!    instance: end, death, time
//! ```
//! What to do is decided by a pure function ([`plan()`]) under one short lock for each deployment; doing it is the rest.

mod body;
pub mod books;
mod boot;
mod config;
mod desk;
mod failure;
mod headers;
mod info;
mod keeper;
mod lease;
mod metrics;
pub mod plan;
mod pool;
mod refusal;
mod running;
mod serving;

pub use body::InvocationBody;
pub use config::PoolConfig;
pub use dockless_node::{BodyError, Program, RequestBody, Spec};
pub use failure::{Replay, SendFailure};
pub use info::{InstanceInfo, Population};
pub use lease::{Lease, Outcome, Start, Timings};
pub use plan::plan;
pub use pool::Pool;
pub use refusal::Refusal;
