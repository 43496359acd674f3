//! The command line client: commands, and the typed client of the HTTP API under them.
//!
//! ```text
//! Command ─► commands/*.rs ─► Client ─► HTTP API          the only way to the platform
//!                   └───────► Printer ─► stdout, stderr   the only way to the terminal
//! ```
//! The binary adds its own commands beside [`Command`], reads the line with [`parse`] and hands over to [`run`].

mod amounts;
mod args;
mod backoff;
mod client;
pub mod commands;
mod context;
mod exit;
mod links;
mod printer;
mod probe;
mod registry_login;
mod run;
mod server;
mod source;
mod table;
mod terminal;
mod variables;

pub use args::{Command, Global, command_line, parse};
pub use client::Name;
pub use commands::dev::{PLATFORM, under_command};
pub use run::run;
pub use server::data_folder;
