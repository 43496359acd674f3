//! Who may do what: every route of the router has a row here, and a row names what a stranger gets.

mod support;

use reqwest::{Method, StatusCode};
use support::{Http, json, machine};

/// What the token of another account gets, with the ids of this one.
#[derive(Debug, Clone, Copy)]
enum Stranger {
    /// Only what is theirs: 200, and nothing of this account in it.
    OwnThings,
    /// The thing does not exist for them.
    NotFound,
    /// Only the owner of the platform may.
    Forbidden,
    /// They may do it for themselves; the request of this test is malformed, 400.
    BadRequest,
}

const TABLE: &[(&str, &str, Stranger)] = &[
    ("GET", "/user", Stranger::OwnThings),
    ("GET", "/teams", Stranger::OwnThings),
    ("POST", "/files", Stranger::BadRequest),
    ("POST", "/deployments", Stranger::BadRequest),
    ("GET", "/deployments", Stranger::OwnThings),
    ("GET", "/deployments/get", Stranger::NotFound),
    ("GET", "/deployments/{x}", Stranger::NotFound),
    ("GET", "/deployments/{x}/builds", Stranger::NotFound),
    ("GET", "/deployments/{x}/events", Stranger::NotFound),
    ("DELETE", "/deployments/{x}", Stranger::NotFound),
    ("GET", "/instances", Stranger::OwnThings),
    ("POST", "/deployments/{x}/sleep", Stranger::NotFound),
    ("GET", "/deployments/{x}/logs", Stranger::NotFound),
    ("GET", "/status", Stranger::Forbidden),
    ("POST", "/upgrade", Stranger::Forbidden),
];

#[test]
fn every_route_has_a_row() {
    let routes: Vec<_> = dockless_api::routes().into_iter().map(|(method, path)| (method.to_string(), path)).collect();
    for (method, path) in &routes {
        let rows = TABLE.iter().filter(|row| row.0 == method && row.1 == *path).count();
        assert_eq!(rows, 1, "{method} {path} has {rows} rows in the authorization table");
    }
    assert_eq!(routes.len(), TABLE.len(), "a row of the table has no route");
}

#[tokio::test]
async fn no_route_answers_without_a_token_or_to_an_unknown_one() {
    let http = Http::start().await;
    let deployment = http.deploy("site").await;
    for (method, path) in dockless_api::routes() {
        let path = path.replace("{x}", deployment["id"].as_str().unwrap());
        for path in [path.clone(), format!("/v9{path}"), format!("/v9/now{path}/")] {
            let name = format!("{method} {path}");
            let (status, body) = json(http.bare(method.clone(), &path).send().await.unwrap()).await;
            assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &"unauthorized".into()), "{name}");
            for value in ["Bearer unknown", "Bearer ", "Basic dXNlcjpwYXNz", "unknown", "Bearer a b"] {
                let request = http.bare(method.clone(), &path).header("authorization", value);
                let (status, _) = json(request.send().await.unwrap()).await;
                assert!([401, 403].contains(&status.as_u16()), "{name} with {value:?}: {status}");
            }
            let token = http.token.expose();
            let twice = http.bare(method.clone(), &path).bearer_auth(token).bearer_auth(token);
            assert_eq!(json(twice.send().await.unwrap()).await.0, StatusCode::UNAUTHORIZED, "{name} with two tokens");
            let cookie = http.bare(method.clone(), &path).header("cookie", format!("token={token}"));
            assert_eq!(json(cookie.send().await.unwrap()).await.0, StatusCode::UNAUTHORIZED, "{name} with a cookie");
            let query = format!("{path}?token={token}");
            assert_eq!(json(http.bare(method.clone(), &query).send().await.unwrap()).await.0, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn a_stranger_gets_what_the_table_says() {
    let http = Http::start().await;
    let deployment = http.deploy("site").await;
    let (_, token) = http.server.account("stranger").await;
    let names = [deployment["id"].as_str().unwrap(), deployment["url"].as_str().unwrap(), "site.localhost", "site"];
    for (method, path, expected) in TABLE {
        let method: Method = method.parse().unwrap();
        for name in names {
            let target = path.replace("{x}", name);
            for query in [format!("?url={name}"), format!("?url={name}&follow=1")] {
                let target = format!("{target}{query}");
                let request = http.bare(method.clone(), &target).bearer_auth(token.expose());
                let (status, body) = json(request.send().await.unwrap()).await;
                let wanted = match expected {
                    Stranger::OwnThings => StatusCode::OK,
                    Stranger::NotFound => StatusCode::NOT_FOUND,
                    Stranger::Forbidden => StatusCode::FORBIDDEN,
                    Stranger::BadRequest => StatusCode::BAD_REQUEST,
                };
                assert_eq!(status, wanted, "{method} {target}: {body}");
                let text = body.to_string();
                for secret in ["id", "url", "ownerId", "projectId"] {
                    let secret = deployment[secret].as_str().unwrap();
                    assert!(!text.contains(secret), "{method} {target} tells {secret}: {text}");
                }
            }
        }
    }
    // All of it is still there.
    let (status, _) = http.get(&format!("/deployments/{}", names[0])).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn an_expired_token_is_unknown() {
    let http = Http::start().await;
    let me = http.server.control.authenticate(&http.token).await.unwrap().unwrap();
    let end = dockless_model::Timestamp(1_000_000_000 + 5_000);
    let short = http.server.control.create_token(me.id(), "short", Some(end)).await.unwrap();
    let ask = async || http.bare(Method::GET, "/user").bearer_auth(short.expose()).send().await.unwrap().status();
    assert_eq!(ask().await, StatusCode::OK);
    http.server.clock.advance(std::time::Duration::from_secs(6));
    assert_eq!(ask().await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_team_of_others_is_refused_and_ones_own_id_is_no_team() {
    let http = Http::start().await;
    let (_, user) = http.get("/user").await;
    let own = user["user"]["id"].as_str().unwrap();
    assert_eq!(http.get(&format!("/deployments?teamId={own}")).await.0, StatusCode::OK);
    assert_eq!(http.get("/deployments?teamId=").await.0, StatusCode::OK);
    assert_eq!(http.get("/deployments?teamId=team_x").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_owner_of_the_platform_may_all() {
    let http = Http::start().await;
    let token = dockless_model::Secret::new("ownertoken");
    http.server.control.ensure_owner(&token).await.unwrap();
    let ask =
        async |method, path| json(http.bare(method, path).bearer_auth(token.expose()).send().await.unwrap()).await;
    let (status, body) = ask(Method::GET, "/v1/status").await;
    assert_eq!((status, body["runtimes"][0]["shelf"].as_u64()), (StatusCode::OK, Some(2)), "{body}");
    let (status, body) = ask(Method::POST, "/v1/upgrade").await;
    assert_eq!((status, &body["upgraded"]), (StatusCode::OK, &true.into()));
    // Owning the platform does not open other accounts.
    let deployment = http.deploy("site").await;
    let path = format!("/deployments/{}", deployment["id"].as_str().unwrap());
    assert_eq!(ask(Method::GET, &path).await.0, StatusCode::NOT_FOUND);
    let _ = machine::config();
}
