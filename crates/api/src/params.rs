//! Query values and path segments.

use crate::error::ApiError;
use axum::extract::{FromRequestParts, Path, Query};
use http::{Uri, request::Parts};
use std::{collections::HashMap, str::FromStr};

/// The query. An empty value is as good as none: clients write out what they leave unset.
pub(crate) struct Params(HashMap<String, String>);

impl Params {
    pub(crate) fn of(uri: &Uri) -> Self {
        let query = Query::<HashMap<String, String>>::try_from_uri(uri);
        Self(query.map(|query| query.0).unwrap_or_default())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `1` and `true` are set; absent, `0` and `false` are not.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, ApiError> {
        match self.text(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => Err(ApiError::BadParameter { name, expected: "1 or 0" }),
        }
    }

    pub(crate) fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, ApiError> {
        let bad = ApiError::BadParameter { name, expected: "a whole number" };
        self.text(name).map(str::parse).transpose().map_err(|_: T::Err| bad)
    }

    /// All values whose name begins with `prefix`, by the rest of the name.
    pub(crate) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (String, String)> {
        self.0
            .iter()
            .filter_map(move |(name, value)| name.strip_prefix(prefix).map(|rest| (rest.to_owned(), value.clone())))
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.uri))
    }
}

/// The variable segment of a path: whatever names the thing.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Not UTF-8 behind the percent signs: nothing has such a name.
        Path::<String>::from_request_parts(parts, state).await.map(|name| Self(name.0)).map_err(|_| ApiError::NoRoute)
    }
}

/// Two variable segments.
pub(crate) struct Names(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let names = Path::<(String, String)>::from_request_parts(parts, state).await;
        names.map(|Path((first, second))| Self(first, second)).map_err(|_| ApiError::NoRoute)
    }
}
