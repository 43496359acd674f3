//! `dockless probe URL`

use crate::probe::{self, Plan, ledger::Ledger};
use crate::{amounts, context::Context, exit::Exit, exit::Failure, exit::Outcome};
use anyhow::Context as _;
use reqwest::{Method, Url};
use std::time::Duration;

/// What to send, and for how long.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless probe http://hello.localhost:3000/api/date --for 30s
  dockless probe http://shop.example.com/ --rate 200 --for 5m --json")]
pub struct Args {
    /// Where to: any URL; no account is needed
    #[arg(value_name = "URL", value_parser = parse_url)]
    pub url: Url,
    /// Requests a second
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub rate: u32,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = amounts::parse_span)]
    pub lasting: Duration,
    /// With which method
    #[arg(long, value_name = "METHOD", default_value = "GET", value_parser = parse_method)]
    pub method: Method,
    /// The body of each request
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub body: String,
    /// A request without its complete answer after so long is lost
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = amounts::parse_span)]
    pub patience: Duration,
}

fn parse_url(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|error| error.to_string())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    if fits { Ok(url) } else { Err("expected a URL like http://hello.localhost:3000/".into()) }
}

fn parse_method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes()).map_err(|_| "expected a method like GET or POST".into())
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let plan = Plan {
        url: args.url.clone(),
        method: args.method.clone(),
        body: args.body.clone().into_bytes(),
        rate: args.rate,
        lasting: args.lasting,
        patience: args.patience,
    };
    let client = probe::client(&plan).context("cannot set up a client")?;
    let printer = &ctx.printer;
    printer.note(&format!("{} requests a second to {} for {}", plan.rate, plan.url, amounts::span(plan.lasting)));
    // Ctrl-C ends the sending; what was sent is still accounted for.
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let ledger = probe::run(&client, &plan, stop, |ledger| {
        if ledger.sent > 0 {
            printer.detail(&line(ledger));
        }
    })
    .await
    .close();
    if printer.is_json() {
        printer.json(&ledger).context("cannot print")?;
    } else {
        for line in table(&ledger) {
            printer.answer(&line).context("cannot print")?;
        }
    }
    match ledger.losses() {
        0 => Ok(Exit::Done),
        lost => Err(Failure::refused(anyhow::anyhow!("{lost} of {} requests were lost", ledger.sent))),
    }
}

fn line(ledger: &Ledger) -> String {
    let (refused, lost) = (ledger.refusals(), ledger.losses());
    format!("{} sent, {} answered, {refused} refused, {lost} lost", ledger.sent, ledger.answered)
}

/// The ledger as people read it.
fn table(ledger: &Ledger) -> Vec<String> {
    let mut lines = vec![line(ledger)];
    let latency = ledger.latency_ms;
    lines.extend((ledger.answered > 0).then(|| {
        format!(
            "answers took {:.1} ms at the median, {:.1} at the 95th percentile, {:.1} at the 99th, {:.1} at most",
            latency.p50, latency.p95, latency.p99, latency.max
        )
    }));
    lines.extend(ledger.statuses.iter().map(|(status, count)| format!("  {count} answered with {status}")));
    lines.extend(ledger.refused.iter().map(|(code, count)| format!("  {count} refused: {code}")));
    lines.extend(ledger.lost.iter().map(|(reason, count)| format!("  {count} lost: {reason}")));
    lines.extend(
        (ledger.losses() > 0 && !ledger.repeatable)
            .then(|| "  such requests may have an effect, so that the platform never sends one twice".to_owned()),
    );
    lines.extend(
        (ledger.held_back > 0)
            .then(|| format!("  {} were not sent: too many were on their way already", ledger.held_back)),
    );
    lines
}
