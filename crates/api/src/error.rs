//! The one mapping from failures to answers.

use axum::response::{IntoResponse, Response};
use dockless_control::{Error, Refusal};
use dockless_wire::{ErrorBody, ErrorDetail};
use http::{HeaderValue, StatusCode, header};

/// Everything that an endpoint may answer instead of what it promises.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// No `Authorization: Bearer …`.
    NoToken,
    /// Nobody's token, or it has expired.
    UnknownToken,
    /// No such path.
    NoRoute,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// A header or query value is not what it should be.
    BadParameter {
        /// Its name.
        name: &'static str,
        /// In words.
        expected: &'static str,
    },
    /// The body is not the JSON that this endpoint reads.
    BadBody {
        /// The field that is not there.
        missing: Option<String>,
    },
    /// The deployment that was to get an alias is not there.
    NoDeployment,
    /// The body is larger than this endpoint reads.
    BodyTooLarge {
        /// Bytes that would have been accepted.
        limit: usize,
    },
    /// The client stopped sending.
    BodyCut,
    /// Control refused or failed.
    Control(Error),
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Control(error)
    }
}

impl ApiError {
    fn parts(self) -> (StatusCode, ErrorDetail) {
        let detail = |code: &str, message: &str| ErrorBody::new(code, message).error;
        match self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                detail("unauthorized", "A token is needed: send Authorization: Bearer TOKEN."),
            ),
            // `forbidden` would be better English, but old clients print a sentence about domains for it.
            Self::UnknownToken => (StatusCode::FORBIDDEN, detail("not_authorized", "The token is not valid.")),
            Self::NoRoute => (StatusCode::NOT_FOUND, detail("not_found", "There is no such API endpoint.")),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, detail("method_not_allowed", "This endpoint has no such method."))
            }
            Self::BadParameter { name, expected } => {
                let message = format!("Invalid `{name}`: expected {expected}");
                (
                    StatusCode::BAD_REQUEST,
                    ErrorDetail { field: Some(name.to_owned()), ..detail("bad_request", &message) },
                )
            }
            Self::BadBody { missing } => {
                let message = match &missing {
                    Some(field) => format!("Invalid `{field}`: it is missing"),
                    None => "The body is not the JSON that this endpoint expects.".to_owned(),
                };
                let field = Some(missing.unwrap_or_else(|| "body".to_owned()));
                (StatusCode::BAD_REQUEST, ErrorDetail { field, ..detail("bad_request", &message) })
            }
            Self::NoDeployment => {
                (StatusCode::NOT_FOUND, detail("deployment_not_found", "The deployment was not found."))
            }
            Self::BodyTooLarge { limit } => {
                let message = format!("The request body is larger than {limit} bytes.");
                let size_limit = u64::try_from(limit).ok();
                (StatusCode::PAYLOAD_TOO_LARGE, ErrorDetail { size_limit, ..detail("body_too_large", &message) })
            }
            Self::BodyCut => (StatusCode::BAD_REQUEST, detail("body_cut", "The request body ended before its time.")),
            Self::Control(error) => of_control(error),
        }
    }
}

fn of_control(error: Error) -> (StatusCode, ErrorDetail) {
    let detail = |code: &str, message: String| ErrorDetail { code: code.to_owned(), message, ..ErrorDetail::default() };
    match error {
        Error::NotFound(what) => (StatusCode::NOT_FOUND, detail("not_found", format!("The {what} was not found."))),
        Error::Busy(why) => (StatusCode::CONFLICT, detail("conflict", format!("Not now: {why}."))),
        Error::Forbidden(why) => (StatusCode::FORBIDDEN, detail("forbidden", format!("Not allowed: {why}."))),
        Error::Refused { refusal, code, message } => {
            let status = match refusal {
                Refusal::Wrong => StatusCode::BAD_REQUEST,
                Refusal::NotYours => StatusCode::FORBIDDEN,
                Refusal::Conflict => StatusCode::CONFLICT,
                Refusal::Gone => StatusCode::GONE,
            };
            (status, detail(code, message))
        }
        Error::Invalid(invalid) => (
            StatusCode::BAD_REQUEST,
            ErrorDetail {
                field: invalid.field,
                key: invalid.key,
                size_limit: invalid.size_limit,
                ..detail(invalid.code, invalid.message)
            },
        ),
        Error::MissingFiles(missing) => (
            StatusCode::BAD_REQUEST,
            ErrorDetail {
                missing: Some(missing.iter().map(ToString::to_string).collect()),
                ..detail("missing_files", "Missing files".to_owned())
            },
        ),
        Error::TooLarge { limit } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorDetail {
                size_limit: Some(limit),
                ..detail("size_limit_exceeded", format!("The file is larger than {limit} bytes."))
            },
        ),
        Error::NoSpace => (
            StatusCode::INSUFFICIENT_STORAGE,
            detail("insufficient_storage", "The server has too little disk space left: remove deployments.".to_owned()),
        ),
        internal @ (Error::KeyMissing | Error::Store(_) | Error::Blob(_) | Error::Platform(_) | Error::Damaged(_)) => {
            tracing::error!(error = dockless_model::chain(&internal), "request failed on our side");
            let message = "Something went wrong on our side; the server's log says why.".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, detail("internal_error", message))
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ask = matches!(self, Self::NoToken);
        // What was not read is not worth reading: the next request gets a fresh connection.
        let close = matches!(self, Self::BodyTooLarge { .. } | Self::BodyCut | Self::Control(Error::TooLarge { .. }));
        let (status, error) = self.parts();
        let mut response = (status, crate::read::Json(ErrorBody { error })).into_response();
        if ask {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
