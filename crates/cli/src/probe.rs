//! Constant load with a ledger: every request that was sent is accounted for.
//!
//! Open-loop: the next request leaves on time whether or not the last one was answered, as strangers would send them. A
//! closed loop would send nothing while the server stands still, and so would not see it.

pub(crate) mod ledger;

use futures_util::StreamExt as _;
use ledger::{Fate, Ledger};
use reqwest::{Client, Method, Response, Url};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests in flight at most: a server that stands still must not take this machine's memory.
const IN_FLIGHT: usize = 10_000;
/// The platform's own word in an answer of its own.
const ERROR_HEADER: &str = "x-dockless-error";

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) url: Url,
    pub(crate) method: Method,
    pub(crate) body: Vec<u8>,
    /// Requests a second.
    pub(crate) rate: u32,
    /// For how long new ones leave.
    pub(crate) lasting: Duration,
    /// After so long without its complete answer a request is lost.
    pub(crate) patience: Duration,
}

/// A client for it: names under `.localhost` are this machine, whatever its resolver says (RFC 6761 §6.3).
///
/// # Errors
/// TLS cannot be set up.
pub(crate) fn client(plan: &Plan) -> reqwest::Result<Client> {
    let mut builder = Client::builder().timeout(plan.patience).redirect(reqwest::redirect::Policy::none());
    // Retries of the client's own would hide losses.
    builder = builder.retry(reqwest::retry::never());
    if let Some(host) = plan.url.host_str()
        && (host == "localhost" || host.ends_with(".localhost"))
    {
        let port = plan.url.port_or_known_default().unwrap_or(80);
        builder = builder.resolve(host, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    builder.build()
}

/// Sends until the time is over or `stop` comes, then waits for what is on its way. `tick` sees the ledger once a second.
pub(crate) async fn run(
    client: &Client,
    plan: &Plan,
    stop: impl Future<Output = ()>,
    mut tick: impl FnMut(&Ledger),
) -> Ledger {
    let mut ledger = Ledger::new(is_repeatable(&plan.method));
    let mut flying: JoinSet<(Fate, Duration)> = JoinSet::new();
    let began = Instant::now();
    let gap = Duration::from_secs(1) / plan.rate.max(1);
    let mut next = began;
    let mut ticking = tokio::time::interval(Duration::from_secs(1));
    tokio::pin!(stop);
    let mut sending = true;
    while sending || !flying.is_empty() {
        tokio::select! {
            () = &mut stop, if sending => sending = false,
            () = tokio::time::sleep_until(next), if sending => {
                if next.duration_since(began) >= plan.lasting {
                    sending = false;
                } else if flying.len() < IN_FLIGHT {
                    ledger.sent += 1;
                    flying.spawn(one(client.clone(), plan.clone()));
                    next += gap;
                } else {
                    // Not sent, and said so: it would be no open loop otherwise.
                    ledger.held_back += 1;
                    next += gap;
                }
            }
            Some(done) = flying.join_next(), if !flying.is_empty() => match done {
                Ok((fate, took)) => ledger.note(fate, took),
                Err(_) => ledger.note(Fate::Lost("the probe's own task failed".into()), Duration::ZERO),
            },
            _ = ticking.tick() => tick(&ledger),
        }
    }
    ledger
}

/// Whether a platform may send such a request a second time after an instance has died under it.
fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

async fn one(client: Client, plan: Plan) -> (Fate, Duration) {
    let began = Instant::now();
    let mut request = client.request(plan.method, plan.url);
    if !plan.body.is_empty() {
        request = request.body(plan.body);
    }
    let fate = match request.send().await {
        Ok(response) => judge(response).await,
        Err(error) => Fate::Lost(reason(&error)),
    };
    (fate, began.elapsed())
}

/// An answer counts once it is complete. What the platform says in its own name is no answer of the deployment.
async fn judge(response: Response) -> Fate {
    let status = response.status().as_u16();
    let ours = response.headers().get(ERROR_HEADER).map(|code| String::from_utf8_lossy(code.as_bytes()).into_owned());
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        if let Err(error) = piece {
            return Fate::Lost(reason(&error));
        }
    }
    match ours {
        None => Fate::Answered(status),
        Some(code) if status == 429 || status == 503 => Fate::Refused(code),
        Some(code) => Fate::Lost(code),
    }
}

/// In words that are the same for the same mishap, so that they can be counted.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no complete answer in time".into()
    } else if error.is_connect() {
        "no connection".into()
    } else if error.is_body() || error.is_decode() {
        "the answer was cut".into()
    } else {
        "the connection ended before an answer".into()
    }
}
