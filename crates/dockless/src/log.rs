//! What the platform says of itself: lines on standard error.

use serde::{Deserialize, Serialize};
use std::io::IsTerminal as _;

/// How lines of the log look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    // For people; in colour on a terminal.
    #[default]
    Text,
    // One object a line, for machines.
    Json,
}

/// Log lines on standard error; a filter that cannot be read falls back to `info`.
pub(crate) fn to_stderr(filter: &str, format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| "info".into());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let terminal = std::io::stderr().is_terminal();
            lines.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())).init();
        }
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).init(),
    }
}
