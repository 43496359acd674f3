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
    /// Nothing of that name is theirs: 200 and `null`, which clients want of aliases.
    Null,
    /// The same to everybody: what was asked, and who asks.
    Echo,
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
    ("POST", "/deployments/{x}/aliases", Stranger::NotFound),
    ("GET", "/deployments/{x}/aliases", Stranger::NotFound),
    ("GET", "/aliases", Stranger::OwnThings),
    ("GET", "/aliases/{x}", Stranger::Null),
    ("DELETE", "/aliases/{x}", Stranger::NotFound),
    ("GET", "/domains/{x}", Stranger::Echo),
    ("GET", "/projects", Stranger::OwnThings),
    ("POST", "/projects", Stranger::BadRequest),
    ("GET", "/projects/{x}", Stranger::NotFound),
    ("DELETE", "/projects/{x}", Stranger::NotFound),
    ("POST", "/projects/{x}/promote/{y}", Stranger::NotFound),
    ("POST", "/projects/{x}/rollback", Stranger::NotFound),
    ("POST", "/projects/{x}/rollback/{y}", Stranger::NotFound),
    ("GET", "/secrets", Stranger::OwnThings),
    ("POST", "/secrets", Stranger::BadRequest),
    ("PATCH", "/secrets/{x}", Stranger::NotFound),
    ("DELETE", "/secrets/{x}", Stranger::NotFound),
    ("GET", "/projects/{x}/env", Stranger::NotFound),
    ("POST", "/projects/{x}/env", Stranger::NotFound),
    ("DELETE", "/projects/{x}/env/{y}", Stranger::NotFound),
    ("GET", "/accounts", Stranger::Forbidden),
    ("POST", "/accounts", Stranger::Forbidden),
    ("DELETE", "/accounts/{x}", Stranger::Forbidden),
    ("POST", "/accounts/{x}/tokens", Stranger::Forbidden),
    ("GET", "/user/tokens", Stranger::OwnThings),
    ("POST", "/user/tokens", Stranger::BadRequest),
    ("DELETE", "/user/tokens/{x}", Stranger::NotFound),
    ("GET", "/instances", Stranger::OwnThings),
    ("GET", "/deployments/{x}/instances", Stranger::NotFound),
    ("PATCH", "/deployments/{x}/instances", Stranger::NotFound),
    ("PUT", "/deployments/{x}/instances", Stranger::NotFound),
    ("POST", "/deployments/{x}/sleep", Stranger::NotFound),
    ("GET", "/deployments/{x}/logs", Stranger::NotFound),
    ("GET", "/usage", Stranger::OwnThings),
    ("GET", "/status", Stranger::Forbidden),
    ("GET", "/metrics", Stranger::Forbidden),
    ("POST", "/upgrade", Stranger::Forbidden),
];

/// A body that is in order where the route wants one to look further.
fn body_of(method: &str, path: &str) -> &'static str {
    match (method, path) {
        ("POST", "/deployments/{x}/aliases") => r#"{"alias":"mine"}"#,
        ("PATCH" | "PUT", "/deployments/{x}/instances") => r#"{"all":{"min":0,"max":0}}"#,
        ("PATCH", "/secrets/{x}") => r#"{"name":"mine"}"#,
        ("POST", "/projects/{x}/env") => r#"{"key":"A","value":"b","target":["preview"]}"#,
        _ => "",
    }
}

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
        let id = deployment["id"].as_str().unwrap();
        let path = path.replace("{x}", id).replace("{y}", id);
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
    let (status, _) = http.post("/secrets", r#"{"name":"site","value":"hush"}"#).await;
    assert_eq!(status, StatusCode::OK);
    let variable = r#"{"key":"site","value":"@site","target":["production","preview"]}"#;
    assert_eq!(http.post("/projects/site/env", variable).await.0, StatusCode::OK);
    let (_, token) = http.server.account("stranger").await;
    let names = [deployment["id"].as_str().unwrap(), deployment["url"].as_str().unwrap(), "site.localhost", "site"];
    for (method, path, expected) in TABLE {
        let body = body_of(method, path);
        let method: Method = method.parse().unwrap();
        for name in names {
            let target = path.replace("{x}", name).replace("{y}", name);
            for query in [format!("?url={name}"), format!("?url={name}&follow=1")] {
                let target = format!("{target}{query}");
                let request = http.bare(method.clone(), &target).bearer_auth(token.expose()).body(body);
                let (status, body) = json(request.send().await.unwrap()).await;
                let wanted = match expected {
                    Stranger::Echo => status,
                    Stranger::OwnThings | Stranger::Null => StatusCode::OK,
                    Stranger::NotFound => StatusCode::NOT_FOUND,
                    Stranger::Forbidden => StatusCode::FORBIDDEN,
                    Stranger::BadRequest => StatusCode::BAD_REQUEST,
                };
                assert_eq!(status, wanted, "{method} {target}: {body}");
                let text = body.to_string();
                let secrets: &[&str] = match expected {
                    Stranger::Echo => &["ownerId", "projectId"],
                    _ => &["id", "url", "ownerId", "projectId"],
                };
                assert!(!matches!(expected, Stranger::Null) || body.is_null(), "{method} {target}: {body}");
                for secret in secrets {
                    let secret = deployment[secret].as_str().unwrap();
                    assert!(!text.contains(secret), "{method} {target} tells {secret}: {text}");
                }
            }
        }
    }
    // All of it is still there, and where it was.
    let (status, now) = http.get(&format!("/deployments/{}", names[0])).await;
    assert_eq!((status, &now["alias"]), (StatusCode::OK, &serde_json::json!(["site.localhost"])));
    assert_eq!(http.get("/projects/site").await.0, StatusCode::OK);
    assert_eq!(http.get("/projects/site/env").await.1["envs"][0]["value"], "@site");
    assert_eq!(http.get("/secrets").await.1["secrets"][0]["name"], "site");
    assert_eq!(http.get("/user/tokens").await.1["tokens"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_revoked_token_is_refused_everywhere_at_once() {
    let http = Http::start().await;
    let deployment = http.deploy("site").await;
    let (status, made) = http.post("/v3/user/tokens", r#"{"name":"laptop"}"#).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let secret = made["bearerToken"].as_str().unwrap();
    let (_, list) = http.get("/v5/user/tokens").await;
    assert!(!list.to_string().contains(secret), "a listing shows a secret");
    let ask = async |method, path: &str| {
        let id = deployment["id"].as_str().unwrap();
        let path = path.replace("{x}", id).replace("{y}", id);
        json(http.bare(method, &path).bearer_auth(secret).send().await.unwrap()).await.0
    };
    assert_eq!(ask(Method::GET, "/user").await, StatusCode::OK);
    let removed = http.with(Method::DELETE, "/v3/user/tokens/laptop").send().await.unwrap();
    assert_eq!(json(removed).await.0, StatusCode::OK);
    for (method, path) in dockless_api::routes() {
        assert_eq!(ask(method.clone(), path).await, StatusCode::FORBIDDEN, "{method} {path}");
    }
    assert_eq!(http.get(&format!("/deployments/{}", deployment["id"].as_str().unwrap())).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_open_stream_ends_with_its_token() {
    let http = Http::start().await;
    let deployment = http.deploy("site").await;
    let (_, made) = http.post("/v13/deployments", machine::body("site", &[("wait", "")])).await;
    let paths = [
        format!("/v1/deployments/{}/logs?follow=1", deployment["id"].as_str().unwrap()),
        format!("/v3/deployments/{}/events?follow=1", made["id"].as_str().unwrap()),
    ];
    for (path, name) in paths.iter().zip(["one", "two"]) {
        let (_, token) = http.post("/v3/user/tokens", format!(r#"{{"name":"{name}"}}"#)).await;
        let secret = token["bearerToken"].as_str().unwrap();
        let stream = http.bare(Method::GET, path).bearer_auth(secret).send().await.unwrap();
        assert_eq!(stream.status(), StatusCode::OK);
        let reading = tokio::spawn(stream.text());
        let removed = http.with(Method::DELETE, &format!("/v3/user/tokens/{name}")).send().await.unwrap();
        assert_eq!(json(removed).await.0, StatusCode::OK);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), reading).await;
        assert!(ended.is_ok(), "{path} goes on without its token");
    }
}

#[tokio::test]
async fn accounts_come_and_go_with_all_that_is_theirs() {
    let http = Http::start().await;
    let owner = dockless_model::Secret::new("ownertoken");
    http.server.control.ensure_owner(&owner).await.unwrap();
    let ask = async |token: &str, method, path: &str, body: &'static str| {
        json(http.bare(method, path).bearer_auth(token).body(body).send().await.unwrap()).await
    };
    let owner = owner.expose();
    let (status, made) = ask(owner, Method::POST, "/v1/accounts", r#"{"username":"anna"}"#).await;
    assert_eq!((status, &made["account"]["role"]), (StatusCode::OK, &"member".into()), "{made}");
    let anna = made["bearerToken"].as_str().unwrap();
    assert_eq!(ask(anna, Method::GET, "/user", "").await.1["user"]["username"], "anna");
    for (body, field) in [
        (r#"{"username":"anna"}"#, "username"),
        (r#"{"username":"An na"}"#, "username"),
        (r#"{"username":"x","role":"king"}"#, "role"),
        (r#"{"name":"x"}"#, "username"),
        ("no", "body"),
    ] {
        let (status, refused) = ask(owner, Method::POST, "/v1/accounts", body).await;
        assert_eq!((status, &refused["error"]["field"]), (StatusCode::BAD_REQUEST, &field.into()), "{body}: {refused}");
    }
    let (_, list) = ask(owner, Method::GET, "/v1/accounts", "").await;
    let names = list["accounts"].as_array().unwrap().iter().map(|account| account["username"].as_str().unwrap());
    assert_eq!(names.collect::<std::collections::BTreeSet<_>>(), ["me", "owner", "anna"].into());
    // Who lost their token gets another one from the owner of the platform.
    let (status, second) = ask(owner, Method::POST, "/v1/accounts/anna/tokens", r#"{"name":"second"}"#).await;
    assert_eq!(status, StatusCode::OK, "{second}");
    let second = second["bearerToken"].as_str().unwrap();
    let past = ask(second, Method::POST, "/user/tokens", r#"{"name":"x","expiresAt":5}"#).await;
    assert_eq!((past.0, &past.1["error"]["field"]), (StatusCode::BAD_REQUEST, &"expiresAt".into()));
    let again = ask(second, Method::POST, "/user/tokens", r#"{"name":"second"}"#).await;
    assert_eq!((again.0, &again.1["error"]["field"]), (StatusCode::BAD_REQUEST, &"name".into()));
    // The owner's own way in cannot be shut from outside.
    assert_eq!(ask(owner, Method::DELETE, "/user/tokens/data%20folder", "").await.0, StatusCode::CONFLICT);
    assert_eq!(ask(owner, Method::DELETE, "/v1/accounts/owner", "").await.0, StatusCode::CONFLICT);

    let body = String::from_utf8(machine::body("hers", &[("index.html", "hello")])).unwrap();
    let made = http.bare(Method::POST, "/v13/deployments").bearer_auth(anna).body(body).send().await.unwrap();
    let (_, made) = json(made).await;
    let host = made["url"].as_str().unwrap().parse().unwrap();
    machine::until("it is ready", async || http.server.control.load_host(&host).await.unwrap().map(|_| ())).await;
    assert_eq!(ask(owner, Method::DELETE, "/v1/accounts/anna", "").await.0, StatusCode::OK);
    assert_eq!(ask(anna, Method::GET, "/user", "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(second, Method::GET, "/user", "").await.0, StatusCode::FORBIDDEN);
    assert!(http.server.control.load_host(&host).await.unwrap().is_none());
    assert_eq!(ask(owner, Method::DELETE, "/v1/accounts/anna", "").await.0, StatusCode::NOT_FOUND);
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
