//! Who is asking: a bearer token, nothing else. No cookie is read, so no page of another site can act for its visitor.

use crate::{error::ApiError, params::Params};
use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::Response,
};
use dockless_control::{Caller, Control, Error};
use dockless_model::Secret;
use http::{HeaderMap, header, request::Parts};

/// Longest token looked up.
const MAX_TOKEN: usize = 512;

/// Lets only callers with a token through.
pub(crate) async fn authenticate(
    State(control): State<Control>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = bearer(request.headers()).ok_or(ApiError::NoToken)?;
    let caller = control.authenticate(&token).await?.ok_or(ApiError::UnknownToken)?;
    // Clients name their own account as a team when they mean none.
    let params = Params::of(request.uri());
    if params.text("teamId").is_some_and(|team| team != caller.id().as_str()) {
        return Err(Error::Forbidden("you are not a member of this team").into());
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && (1..=MAX_TOKEN).contains(&token.len())).then(|| Secret::new(token))
}

/// The caller that [`authenticate`] found.
pub(crate) struct Authenticated(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Absent only on a route outside the layer: refused like a request without a token.
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or(ApiError::NoToken)
    }
}
