//! The list of routes, and the router made of it.

use crate::{
    accounts, aliases, auth, create, deployments, error::ApiError, events, files, instances, logs, platform, projects,
    remove, secrets, usage, user,
};
use axum::{
    Router,
    handler::Handler,
    middleware,
    routing::{MethodFilter, MethodRouter, on},
};
use dockless_control::Control;
use http::Method;

/// A route: method, and path with `{x}` and `{y}` for its variable segments (id, host, alias, name).
pub type RouteName = (Method, &'static str);

/// One endpoint.
pub(crate) struct Route {
    name: RouteName,
    endpoint: MethodRouter<Control>,
}

impl Route {
    pub(crate) fn get<H: Handler<T, Control>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { name: (Method::GET, path), endpoint: on(MethodFilter::GET, handler) }
    }

    pub(crate) fn post<H: Handler<T, Control>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { name: (Method::POST, path), endpoint: on(MethodFilter::POST, handler) }
    }

    pub(crate) fn put<H: Handler<T, Control>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { name: (Method::PUT, path), endpoint: on(MethodFilter::PUT, handler) }
    }

    pub(crate) fn patch<H: Handler<T, Control>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { name: (Method::PATCH, path), endpoint: on(MethodFilter::PATCH, handler) }
    }

    pub(crate) fn delete<H: Handler<T, Control>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { name: (Method::DELETE, path), endpoint: on(MethodFilter::DELETE, handler) }
    }
}

fn all() -> impl Iterator<Item = Route> {
    [
        user::routes(),
        files::routes(),
        create::routes(),
        deployments::routes(),
        events::routes(),
        remove::routes(),
        aliases::routes(),
        projects::routes(),
        accounts::routes(),
        secrets::routes(),
        instances::routes(),
        logs::routes(),
        usage::routes(),
        platform::routes(),
    ]
    .into_iter()
    .flatten()
}

/// Every route there is, as the router knows it.
#[must_use]
pub fn routes() -> Vec<RouteName> {
    all().map(|route| route.name).collect()
}

/// The router. Authentication wraps all routes at once, so that none can be added without it; what is no route is
/// refused before anybody is asked who they are.
pub(crate) fn build(control: Control) -> Router {
    all()
        .fold(Router::new(), |router, route| router.route(route.name.1, route.endpoint))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .route_layer(middleware::from_fn_with_state(control.clone(), auth::authenticate))
        .fallback(async || ApiError::NoRoute)
        .with_state(control)
}
