//! `dockless logs URL [-f]`

use crate::{
    backoff::Backoff,
    client::{Client, LogRange, Name},
    context::Context,
    exit::Exit,
    exit::{Failure, Outcome},
};
use anyhow::Context as _;
use dockless_model::{Clock as _, SystemClock, Timestamp};
use dockless_wire::LogRecord;
use std::time::Duration;

/// A server that comes back within so many tries (about half a minute) is still followed.
const TRIES: u32 = 8;
/// Between the end of a followed stream and the next.
const RECONNECT: Duration = Duration::from_millis(500);

/// Which lines of which deployment.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless logs http://hello.localhost:3000 -f
  dockless logs hello.localhost -n 50 --since 10m
  dockless logs hello.localhost --function api/date --grep timeout")]
pub struct Args {
    /// Which deployment
    #[arg(value_name = "URL|ID", value_parser = Name::parse)]
    pub deployment: Name,
    /// Stay, and print what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Begin with the last N lines; filters look at those alone
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<u32>,
    /// Only lines of this function: its path, e.g. api/date
    #[arg(long, value_name = "PATH")]
    pub function: Option<String>,
    /// Only lines with this text in them
    #[arg(long, short, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Only what went to stderr, and what the platform says
    #[arg(long)]
    pub errors: bool,
    /// Only what came after this line (the `id` of --json), or within this time: 90s, 10m, 2h
    #[arg(long, value_name = "ID|TIME", value_parser = since)]
    pub since: Option<Since>,
}

impl Args {
    /// Whether a line is asked for. Looked at here, behind the server's own limits: `-n` counts lines before that.
    fn shows(&self, record: &LogRecord) -> bool {
        self.function.as_ref().is_none_or(|function| record.function.as_ref() == Some(function))
            && self.grep.as_ref().is_none_or(|text| record.text.contains(text.as_str()))
            && (!self.errors || record.kind != "stdout")
    }
}

/// Where a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// After the record of this sequence.
    Record(u64),
    /// This long ago.
    Ago(Duration),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(Since::Record(sequence));
    }
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .map(Since::Ago)
        .ok_or_else(|| "expected the id of a line, or a time like 90s, 10m, 2h".to_owned())
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let client = ctx.client()?;
    let mut range = LogRange { since: None, limit: args.lines, follow: args.follow };
    let mut not_before = None;
    match args.since {
        Some(Since::Record(sequence)) => range.since = Some(sequence),
        Some(Since::Ago(ago)) => not_before = Some(SystemClock.now().since(Timestamp(0)).saturating_sub(ago)),
        None => {}
    }
    let mut backoff = Backoff::new(TRIES);
    loop {
        let before = range.since;
        let end = stream(&client, args, ctx, &mut range, not_before).await;
        if range.since != before {
            // It answered: what was tried before does not count any more.
            backoff = Backoff::new(TRIES);
        }
        let error = match end {
            // A server that hands over ends its streams; a removed deployment is told apart by the next call.
            Ok(()) if args.follow => {
                tokio::time::sleep(RECONNECT).await;
                continue;
            }
            Ok(()) => return Ok(Exit::Done),
            Err(Broken::Print(failure)) => return Err(failure),
            Err(Broken::Call(error)) => error,
        };
        match backoff.after(&error) {
            Some(delay) if args.follow => tokio::time::sleep(delay).await,
            _ => return Err(error.into()),
        }
    }
}

enum Broken {
    Call(crate::client::CallError),
    Print(Failure),
}

impl From<crate::client::CallError> for Broken {
    fn from(error: crate::client::CallError) -> Self {
        Self::Call(error)
    }
}

/// One connection's worth; `range` moves on, so that the next connection goes on behind it.
async fn stream(
    client: &Client,
    args: &Args,
    ctx: &Context,
    range: &mut LogRange,
    not_before: Option<Duration>,
) -> Result<(), Broken> {
    let mut lines = client.logs(&args.deployment, *range).await?;
    while let Some(line) = lines.next::<LogRecord>().await? {
        range.since = Some(line.record.id);
        range.limit = None;
        if not_before.is_some_and(|limit| line.record.date.since(Timestamp(0)) < limit) {
            continue;
        }
        if !args.shows(&line.record) {
            continue;
        }
        let text = if ctx.printer.is_json() { line.text } else { shown(&line.record) };
        ctx.printer.answer(&text).context("cannot print").map_err(|error| Broken::Print(error.into()))?;
    }
    Ok(())
}

/// `2026-01-02T03:04:05.678Z api/date text`; where the platform speaks, it says so.
fn shown(record: &LogRecord) -> String {
    let when = jiff::Timestamp::from_millisecond(record.date.0)
        .map_or_else(|_| record.date.0.to_string(), |when| format!("{when:.3}"));
    let function = record.function.as_deref().unwrap_or("-");
    let speaker = if record.kind == "system" { "dockless: " } else { "" };
    format!("{when} {function} {speaker}{}", record.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_begins_at_a_line_or_at_a_time() {
        for (text, expected) in [
            ("0", Since::Record(0)),
            ("1234", Since::Record(1234)),
            ("90s", Since::Ago(Duration::from_secs(90))),
            ("10m", Since::Ago(Duration::from_secs(600))),
            ("1h30m", Since::Ago(Duration::from_secs(5400))),
            ("PT2H", Since::Ago(Duration::from_secs(7200))),
        ] {
            assert_eq!(since(text), Ok(expected), "{text}");
        }
        for bad in ["", "-5m", "yesterday", "-1", "1.5"] {
            assert!(since(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_line_says_when_where_and_who() {
        let mut record = LogRecord {
            id: 1,
            date: Timestamp(1_700_000_000_123),
            kind: "stdout".to_owned(),
            text: "hello".to_owned(),
            function: Some("api/date".to_owned()),
            instance: None,
            request: None,
        };
        assert_eq!(shown(&record), "2023-11-14T22:13:20.123Z api/date hello");
        record.kind = "system".to_owned();
        record.function = None;
        assert_eq!(shown(&record), "2023-11-14T22:13:20.123Z - dockless: hello");
    }
}
