//! Who am I: `GET /user`, `GET /teams`.

use crate::{auth::Authenticated, read::Json, router::Route};
use dockless_wire::{Pagination, TeamList, UserBody};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/user", show), Route::get("/teams", teams)]
}

async fn show(Authenticated(caller): Authenticated) -> Json<UserBody> {
    Json(UserBody { user: caller.user() })
}

/// There are no teams; clients ask before their first deployment.
async fn teams(_: Authenticated) -> Json<TeamList> {
    Json(TeamList { teams: Vec::new(), pagination: Pagination { count: 0, next: None, prev: None } })
}
