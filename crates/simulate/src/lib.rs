//! A simulator of the pool: its real books and plans, and the warden's real counting, among simulated instances, clients,
//! servers and faults.
//!
//! ```text
//! workload ─► requests ─► Books (real) ─► starts ─► Groups of the warden (real) ─► processes, which die, hang, are late
//!                ▲                │
//!                └── answers ◄────┴── keepers, look-agains, hand-over to a second server
//! ```
//! Time is virtual and every choice comes from a seed: the same seed tells the same story. After each event the promises
//! of [`Promise`] are checked; the first that is broken ends the story, which is then made shorter and told.

mod adoption;
mod bug;
mod check;
mod clients;
mod event;
mod keeper;
mod process;
mod promise;
mod random;
mod run;
mod server;
mod town;
mod world;

pub use bug::Bug;
pub use promise::{Broken, Promise};
pub use run::{Options, Report, Story, run, tell};
pub use world::Tally;
