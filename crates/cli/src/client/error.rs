//! How a call can fail, and what that means for the command.

use crate::{exit::Failure, server::Address};
use anyhow::anyhow;
use dockless_wire::ErrorDetail;
use std::time::Duration;

/// A call that brought no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection, or it broke.
    #[error("no answer from {address}: {reason}")]
    Lost {
        /// The server.
        address: Address,
        /// The innermost cause: what lies between is the HTTP library's own structure.
        reason: String,
    },
    /// Connected, then nothing.
    #[error("{0} went silent")]
    Silent(Address),
    /// The API said no.
    #[error("{}", .detail.message)]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        detail: Box<ErrorDetail>,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// An error that is not of our API.
    #[error("{address} answered {status}, not as a Dockless server does")]
    Foreign {
        /// The server.
        address: Address,
        /// HTTP status.
        status: u16,
    },
    /// A success that cannot be read.
    #[error("{address} answered in a shape this client does not know")]
    Shape {
        /// The server.
        address: Address,
        /// What did not fit.
        #[source]
        source: serde_json::Error,
    },
    /// A file of the source could not be sent.
    #[error("cannot read {path}")]
    File {
        /// Its path in the source.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the source is no longer what was read before.
    #[error("{0} changed while it was being deployed")]
    Changed(String),
}

impl CallError {
    /// A call that brought no answer.
    pub(super) fn lost(address: &Address, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Self::Lost { address: address.clone(), reason: cause.to_string() }
    }

    /// Whether the same call may fare better in a moment: no answer, 429, or a failure of the server.
    #[must_use]
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Silent(_) => true,
            Self::Refused { status, .. } | Self::Foreign { status, .. } => *status == 429 || *status >= 500,
            Self::Shape { .. } | Self::File { .. } | Self::Changed(_) => false,
        }
    }

    /// What the server asks to wait before the next try.
    #[must_use]
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl CallError {
    /// Whether the thing is not there.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// As a failure; where the thing is not there, with this hint.
    pub(crate) fn or_see(self, hint: &str) -> Failure {
        let missing = self.is_missing();
        let failure = Failure::from(self);
        if missing { failure.hint(hint) } else { failure }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Lost { .. } => {
                Self::unreachable(error).hint("is it running? `dockless serve` starts a server here")
            }
            CallError::Silent(_) => Self::unreachable(error),
            CallError::Foreign { .. } => Self::unreachable(error).hint("check --server"),
            CallError::Shape { .. } => Self::bug(error)
                .hint("client and server may be of different versions: see `dockless status` and `dockless --version`"),
            CallError::File { .. } => Self::refused(error),
            CallError::Changed(_) => Self::refused(error).hint("run it again"),
            CallError::Refused { status, detail, .. } => refusal(*status, detail),
        }
    }
}

fn refusal(status: u16, detail: &ErrorDetail) -> Failure {
    let said = match detail.message.as_str() {
        "" => anyhow!("the server answered {status} {}", detail.code),
        message => anyhow!("{message}"),
    };
    match status {
        // Nobody's token is 403 `not_authorized`: what the API's older clients understand. `forbidden` is a right that this
        // account lacks.
        401 => Failure::unreachable(said).hint(SIGN_IN),
        403 if detail.code == "not_authorized" => Failure::unreachable(said).hint(SIGN_IN),
        404 => Failure::refused(said).hint("`dockless ls` shows what there is"),
        400..=499 => Failure::refused(said)
            .hint(hint_for(&detail.code).unwrap_or("`dockless COMMAND --help` says what a command takes")),
        // Our room, not our mistake.
        503 | 507 => Failure::refused(said).hint("`dockless status` shows how the server is doing"),
        _ => Failure::bug(said).hint("the server's own log says more"),
    }
}

/// What to try, by the name of the refusal.
fn hint_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "conflict" => "nothing was changed; `dockless COMMAND --help` says what a command takes",
        "forbidden" => "only the owner of the platform can do or allow this",
        "invalid_alias" => "a name without a dot becomes NAME.DOMAIN: dockless alias set URL shop",
        "alias_in_use" => "choose another name; `dockless alias ls` shows yours",
        "deployment_not_ready" => "`dockless ls` shows its state",
        "gone" => "mend it and deploy again; what was online before still is",
        "nothing_to_roll_back" => "`dockless ls PROJECT` shows its deployments",
        "secret_not_found" => "`dockless secrets ls` shows what there is; `dockless secrets add NAME` adds one",
        "secret_exists" => "remove it first, or choose another name",
        "secret_in_use" => "`dockless env ls PROJECT` shows where; remove the variable first",
        "too_many_secrets" => "`dockless secrets ls` shows them",
        "too_many_variables" => "`dockless env ls PROJECT` shows them",
        "too_many_aliases" => "`dockless alias ls` shows them",
        "too_many_tokens" => "`dockless token ls` shows them",
        _ => return None,
    })
}

const SIGN_IN: &str =
    "check --token or DOCKLESS_TOKEN; the owner's token is in the file `token` of the server's data folder";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn refused(status: u16, code: &str) -> CallError {
        let detail = ErrorDetail { code: code.to_owned(), message: "no".to_owned(), ..ErrorDetail::default() };
        CallError::Refused { status, detail: Box::new(detail), retry_after: None }
    }

    #[test]
    fn each_kind_of_refusal_has_its_exit_code() {
        for (status, code, exit, may_pass) in [
            (400, "bad_request", Exit::Refused, false),
            (401, "unauthorized", Exit::Unreachable, false),
            (403, "not_authorized", Exit::Unreachable, false),
            (403, "forbidden", Exit::Refused, false),
            (404, "not_found", Exit::Refused, false),
            (413, "size_limit_exceeded", Exit::Refused, false),
            (429, "rate_limited", Exit::Refused, true),
            (500, "internal", Exit::Bug, true),
            (503, "no_room", Exit::Refused, true),
        ] {
            let error = refused(status, code);
            assert_eq!(error.may_pass(), may_pass, "{status} {code}");
            assert_eq!(Failure::from(error).exit, exit, "{status} {code}");
        }
    }
}
