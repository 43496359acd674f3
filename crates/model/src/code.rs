//! Refusals and failures of the gateway: one table of stable codes and their HTTP status.

/// Why a request to a deployment was not answered by it. The name is stable: it stands on error pages, in the
/// `x-dockless-error` header, in logs and as metrics label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The function did not end within its duration.
    FunctionTimeout,
    /// The function threw.
    FunctionFailed,
    /// The instance ended while it served the request.
    InstanceDied,
    /// The instance ran out of its memory.
    OutOfMemory,
    /// The instance did not become ready.
    BootFailed,
    /// No instance became free in time.
    QueueTimeout,
    /// The deployment's queue is full.
    QueueFull,
    /// The account's or function's cap is reached.
    CapReached,
    /// This machine has no room.
    NoRoom,
    /// The request body is over the limit.
    BodyTooLarge,
    /// Scaled to zero by its owner.
    DeploymentDisabled,
    /// No deployment has this host.
    DeploymentNotFound,
    /// The deployment has nothing at this path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// A function with concurrency 1 cannot hold a WebSocket.
    WebsocketInFunction,
    /// The request itself is malformed or ambiguous.
    BadRequest,
    /// The server elsewhere that a route leads to cannot be reached, or may not be.
    DestinationFailed,
    /// It did not answer in time.
    DestinationTimeout,
    /// Routes lead from server to server and back.
    LoopDetected,
    /// Ours to mend.
    Internal,
}

impl Code {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 20] = [
        Self::FunctionTimeout,
        Self::FunctionFailed,
        Self::InstanceDied,
        Self::OutOfMemory,
        Self::BootFailed,
        Self::QueueTimeout,
        Self::QueueFull,
        Self::CapReached,
        Self::NoRoom,
        Self::BodyTooLarge,
        Self::DeploymentDisabled,
        Self::DeploymentNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::WebsocketInFunction,
        Self::BadRequest,
        Self::DestinationFailed,
        Self::DestinationTimeout,
        Self::LoopDetected,
        Self::Internal,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FunctionTimeout => "FUNCTION_TIMEOUT",
            Self::FunctionFailed => "FUNCTION_FAILED",
            Self::InstanceDied => "INSTANCE_DIED",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::BootFailed => "BOOT_FAILED",
            Self::QueueTimeout => "QUEUE_TIMEOUT",
            Self::QueueFull => "QUEUE_FULL",
            Self::CapReached => "CAP_REACHED",
            Self::NoRoom => "NO_ROOM",
            Self::BodyTooLarge => "BODY_TOO_LARGE",
            Self::DeploymentDisabled => "DEPLOYMENT_DISABLED",
            Self::DeploymentNotFound => "DEPLOYMENT_NOT_FOUND",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::WebsocketInFunction => "WEBSOCKET_IN_FUNCTION",
            Self::BadRequest => "BAD_REQUEST",
            Self::DestinationFailed => "DESTINATION_FAILED",
            Self::DestinationTimeout => "DESTINATION_TIMEOUT",
            Self::LoopDetected => "LOOP_DETECTED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status it is answered with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::DeploymentNotFound | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::BodyTooLarge => 413,
            Self::QueueFull | Self::CapReached => 429,
            Self::FunctionFailed | Self::Internal => 500,
            Self::WebsocketInFunction => 501,
            Self::InstanceDied | Self::OutOfMemory | Self::BootFailed | Self::DestinationFailed => 502,
            Self::QueueTimeout | Self::NoRoom | Self::DeploymentDisabled => 503,
            Self::FunctionTimeout | Self::DestinationTimeout => 504,
            Self::LoopDetected => 508,
        }
    }

    /// Seconds for `Retry-After`: refusals that time alone heals.
    #[must_use]
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::QueueTimeout | Self::QueueFull | Self::CapReached | Self::NoRoom => Some(1),
            _ => None,
        }
    }

    /// One sentence for a stranger: never an internal detail.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::FunctionTimeout => "The function took longer than its limit.",
            Self::FunctionFailed => "The function failed.",
            Self::InstanceDied => "The instance ended before it answered.",
            Self::OutOfMemory => "The instance ran out of memory.",
            Self::BootFailed => "The function could not be started.",
            Self::QueueTimeout => "No instance became free in time.",
            Self::QueueFull => "Too many requests are waiting.",
            Self::CapReached => "The limit of instances is reached.",
            Self::NoRoom => "This machine has no room at the moment.",
            Self::BodyTooLarge => "The request body is too large.",
            Self::DeploymentDisabled => "This deployment is switched off.",
            Self::DeploymentNotFound => "There is no deployment at this address.",
            Self::NotFound => "The page could not be found.",
            Self::MethodNotAllowed => "This method is not allowed here.",
            Self::WebsocketInFunction => "WebSockets need a function that declares concurrency.",
            Self::BadRequest => "The request is malformed.",
            Self::DestinationFailed => "The server that this address leads to could not be reached.",
            Self::DestinationTimeout => "The server that this address leads to did not answer in time.",
            Self::LoopDetected => "This address leads in a circle.",
            Self::Internal => "Something went wrong on our side.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_only_refusals_of_load_ask_to_retry() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(
                code.retry_after().is_some(),
                matches!(code.status(), 429 | 503) && code != Code::DeploymentDisabled,
                "{code:?}"
            );
        }
    }
}
