//! Aliases, promotion and rollback over real HTTP.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use dockless_control::{ControlConfig, ForeignHosts};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Http, machine};

async fn set(http: &Http, deployment: &Value, alias: &str) -> (StatusCode, Value) {
    let path = format!("/v2/now/deployments/{}/aliases", deployment["id"].as_str().unwrap());
    http.post(&path, json!({ "alias": alias }).to_string()).await
}

async fn leads_to(http: &Http, host: &str) -> Option<String> {
    http.server.control.load_host(&host.parse().unwrap()).await.unwrap().map(|hosted| hosted.id.to_string())
}

async fn delete(http: &Http, path: &str) -> (StatusCode, Value) {
    support::json(http.with(Method::DELETE, path).send().await.unwrap()).await
}

fn id(deployment: &Value) -> Option<String> {
    deployment["id"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn an_alias_is_set_moved_listed_and_removed() {
    let http = Http::start().await;
    let (one, two) = (http.deploy("site").await, http.deploy("site").await);
    assert_eq!(http.get("/now/aliases/shop.localhost").await, (StatusCode::OK, Value::Null));
    let (status, answer) = set(&http, &one, "shop").await;
    assert_eq!(
        (status, &answer["alias"], &answer["oldDeploymentId"]),
        (StatusCode::OK, &json!("shop.localhost"), &Value::Null)
    );
    assert_eq!(answer["href"], "http://shop.localhost:3000");
    assert_eq!(leads_to(&http, "shop.localhost").await, id(&one));
    let (status, answer) = set(&http, &two, "shop.localhost").await;
    assert_eq!((status, &answer["oldDeploymentId"]), (StatusCode::OK, &one["id"]));
    assert_eq!(leads_to(&http, "shop.localhost").await, id(&two));

    let (_, alias) = http.get("/v2/aliases/shop.localhost").await;
    assert_eq!((&alias["deploymentId"], &alias["deployment"]["url"]), (&two["id"], &two["url"]), "{alias}");
    let (_, list) = http.get("/v3/now/aliases?limit=20").await;
    let names: Vec<_> =
        list["aliases"].as_array().unwrap().iter().map(|alias| alias["alias"].as_str().unwrap()).collect();
    assert_eq!(names, ["shop.localhost", "site.localhost"]);
    let (_, of) = http.get(&format!("/now/deployments/{}/aliases", two["url"].as_str().unwrap())).await;
    assert_eq!(of["aliases"].as_array().unwrap().len(), 2, "{of}");

    assert_eq!(delete(&http, "/now/aliases/shop.localhost").await.0, StatusCode::OK);
    assert_eq!(leads_to(&http, "shop.localhost").await, None);
    assert_eq!(delete(&http, "/now/aliases/shop.localhost").await.0, StatusCode::NOT_FOUND);
    // A deployment's own host is no alias.
    assert_eq!(delete(&http, &format!("/now/aliases/{}", two["url"].as_str().unwrap())).await.0, StatusCode::NOT_FOUND);
    assert_eq!(leads_to(&http, two["url"].as_str().unwrap()).await, id(&two));
}

#[tokio::test]
async fn what_cannot_be_an_alias_is_refused_by_name() {
    let foreign = ForeignHosts { any: false, domains: vec!["example.org".parse().unwrap()] };
    let server = machine::Server::with(ControlConfig { foreign_hosts: foreign, ..machine::config() }).await;
    let mut http = Http::on(server).await;
    let one = http.deploy("site").await;
    for (alias, status, code) in [
        ("", 400, "invalid_alias"),
        ("*.localhost", 400, "invalid_alias"),
        ("*", 400, "invalid_alias"),
        ("api", 400, "invalid_alias"),
        ("www.localhost", 400, "invalid_alias"),
        ("localhost", 400, "invalid_alias"),
        ("a.b.localhost", 400, "invalid_alias"),
        ("127.0.0.1", 400, "invalid_alias"),
        ("[::1]:80.x", 400, "invalid_alias"),
        ("under score!", 400, "invalid_alias"),
        ("shop.example.com", 403, "forbidden"),
        ("notexample.org", 403, "forbidden"),
        (one["url"].as_str().unwrap(), 403, "alias_in_use"),
    ] {
        let (got, answer) = set(&http, &one, alias).await;
        assert_eq!((got.as_u16(), answer["error"]["code"].as_str()), (status, Some(code)), "{alias:?}: {answer}");
    }
    for alias in ["example.org", "shop.example.org:443", "Deep.Shop.example.org"] {
        assert_eq!(set(&http, &one, alias).await.0, StatusCode::OK, "{alias}");
    }
    for (domain, status) in [("shop.example.org", 200), ("localhost", 200), ("example.com", 404)] {
        assert_eq!(http.get(&format!("/v5/domains/{domain}")).await.0.as_u16(), status, "{domain}");
    }
    // Another account's, and a deployment that is not there or not ready.
    let (_, stranger) = http.server.account("stranger").await;
    let mine = std::mem::replace(&mut http.token, stranger);
    let own = http.deploy("other").await;
    let (status, answer) = set(&http, &own, "shop.example.org").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::FORBIDDEN, &json!("alias_in_use")), "{answer}");
    let (status, answer) = set(&http, &one, "mine").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!("deployment_not_found")), "{answer}");
    http.token = mine;
    let (_, failing) = http.post("/v13/deployments", machine::body("site", &[("fail", "")])).await;
    let path = format!("/v13/deployments/{}", failing["id"].as_str().unwrap());
    machine::until("it fails", async || (http.get(&path).await.1["readyState"] == "ERROR").then_some(())).await;
    let (status, answer) = set(&http, &failing, "mine").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::GONE, &json!("gone")), "{answer}");
    let (_, waiting) = http.post("/v13/deployments", machine::body("site", &[("wait", "")])).await;
    let (status, answer) = set(&http, &waiting, "mine").await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("deployment_not_ready")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_rollback_holds_until_the_next_deployment_is_created() {
    let http = Http::start().await;
    let one = http.deploy("site").await;
    let (status, answer) = http.post("/v9/projects/site/rollback", "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::CONFLICT, &json!("nothing_to_roll_back")), "{answer}");
    let two = http.deploy("site").await;
    // Created before the rollback, ready after it: it does not undo it.
    let (_, late) = http.post("/v13/deployments", machine::body("site", &[("wait", "")])).await;
    let (status, answer) = http.post("/v9/projects/site/rollback", "{}").await;
    assert_eq!(
        (status, &answer["toDeploymentId"], &answer["fromDeploymentId"]),
        (StatusCode::OK, &one["id"], &two["id"])
    );
    assert_eq!(leads_to(&http, "site.localhost").await, id(&one));
    let (_, project) = http.get("/v9/projects/site?rollbackInfo=true").await;
    assert_eq!(project["lastAliasRequest"]["jobStatus"], "succeeded");
    assert_eq!(
        (&project["lastAliasRequest"]["type"], &project["targets"]["production"]["id"]),
        (&json!("rollback"), &one["id"])
    );
    http.server.shop.gate.add_permits(1);
    let path = format!("/v13/deployments/{}", late["id"].as_str().unwrap());
    machine::until("the late one is ready", async || (http.get(&path).await.1["readyState"] == "READY").then_some(()))
        .await;
    assert_eq!(leads_to(&http, "site.localhost").await, id(&one));

    let promote = format!("/v10/projects/{}/promote/{}", project["id"].as_str().unwrap(), two["url"].as_str().unwrap());
    let (status, answer) = http.post(&promote, "{}").await;
    assert_eq!((status, &answer["url"]), (StatusCode::OK, &two["url"]), "{answer}");
    assert_eq!(leads_to(&http, "site.localhost").await, id(&two));
    let newest = http.deploy("site").await;
    assert_eq!(leads_to(&http, "site.localhost").await, id(&newest));
    let other = http.deploy("other").await;
    let foreign = format!("/v9/projects/site/rollback/{}", other["id"].as_str().unwrap());
    assert_eq!(http.post(&foreign, "{}").await.0, StatusCode::NOT_FOUND, "a deployment of another project");
}

#[tokio::test]
async fn removing_what_the_projects_alias_leads_to_moves_it_back() {
    let http = Http::start().await;
    let (one, two, three) = (http.deploy("site").await, http.deploy("site").await, http.deploy("site").await);
    set(&http, &three, "extra").await;
    let remove = async |deployment: &Value| {
        delete(&http, &format!("/v13/deployments/{}", deployment["id"].as_str().unwrap())).await.0
    };
    assert_eq!(remove(&three).await, StatusCode::OK);
    assert_eq!(leads_to(&http, "site.localhost").await, id(&two));
    assert_eq!(leads_to(&http, "extra.localhost").await, None, "an alias that somebody set goes with its deployment");
    // Rolled back: the one it was rolled back from is not what anybody wants.
    http.post("/v9/projects/site/rollback", "{}").await;
    let zero = http.deploy("site").await;
    http.post(&format!("/v9/projects/site/promote/{}", two["id"].as_str().unwrap()), "{}").await;
    assert_eq!(remove(&two).await, StatusCode::OK);
    assert_eq!(leads_to(&http, "site.localhost").await, id(&one));
    assert_eq!(remove(&one).await, StatusCode::OK);
    assert_eq!(leads_to(&http, "site.localhost").await, id(&zero));
    assert_eq!(remove(&zero).await, StatusCode::OK);
    assert_eq!(leads_to(&http, "site.localhost").await, None);
    assert_eq!(delete(&http, "/v9/projects/site").await.0, StatusCode::OK);
    assert_eq!(http.get("/v9/projects/site").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_project_is_made_once_and_removed_with_its_deployments() {
    let http = Http::start().await;
    let (status, made) = http.post("/v1/projects", r#"{"name":"site","framework":null}"#).await;
    assert_eq!((status, &made["name"]), (StatusCode::OK, &json!("site")), "{made}");
    assert_eq!(http.post("/v1/projects", r#"{"name":"site"}"#).await.0, StatusCode::CONFLICT);
    assert_eq!(http.post("/v1/projects", r#"{"name":"api"}"#).await.0, StatusCode::BAD_REQUEST);
    let (one, two) = (http.deploy("site").await, http.deploy("site").await);
    assert_eq!(http.get("/v2/projects/?limit=35").await.1[0]["id"], made["id"]);
    let (status, removed) = delete(&http, "/projects/site").await;
    assert_eq!((status, &removed["deployments"]), (StatusCode::OK, &json!(2)), "{removed}");
    for deployment in [&one, &two] {
        assert_eq!(leads_to(&http, deployment["url"].as_str().unwrap()).await, None);
    }
    assert_eq!(leads_to(&http, "site.localhost").await, None);
}

#[tokio::test]
async fn a_deployment_is_scaled_within_bounds_and_switched_off_by_zero() {
    let http = Http::start().await;
    let one = http.deploy("site").await;
    let path = format!("/v3/now/deployments/{}/instances", one["id"].as_str().unwrap());
    let scale = async |method, body: &str| {
        support::json(http.with(method, &path).body(body.to_owned()).send().await.unwrap()).await
    };
    let stored =
        async || http.server.control.load_host(&"site.localhost".parse().unwrap()).await.unwrap().unwrap().scale;
    assert_eq!(http.get(&path).await, (StatusCode::OK, json!({ "dev1": { "instances": [] } })));
    for (body, code) in [
        ("{}", "bad_request"),
        (r#"{"dev1":{"min":0}}"#, "bad_request"),
        (r#"{"dev1":{"min":0,"max":"many"}}"#, "bad_request"),
        (r#"{"dev1":{"min":-1,"max":1}}"#, "bad_request"),
        (r#"{"sfo1":{"min":0,"max":1}}"#, "bad_request"),
        (r#"{"dev1":{"min":3,"max":1}}"#, "wrong_min_max_relation"),
        (r#"{"dev1":{"min":2000,"max":"auto"}}"#, "forbidden_min_instances"),
        (r#"{"dev1":{"min":0,"max":2000}}"#, "forbidden_max_instances"),
    ] {
        let (status, answer) = scale(Method::PATCH, body).await;
        assert_eq!(
            (status, answer["error"]["code"].as_str()),
            (StatusCode::BAD_REQUEST, Some(code)),
            "{body}: {answer}"
        );
    }
    assert_eq!(stored().await, dockless_model::Scale::default());
    let (status, answer) = scale(Method::PATCH, r#"{"all":{"min":9,"max":9},"dev1":{"min":1,"max":3}}"#).await;
    assert_eq!((status, &answer["scale"]["dev1"]), (StatusCode::OK, &json!({ "min": 1, "max": 3 })), "{answer}");
    assert_eq!(stored().await, dockless_model::Scale { min: 1, max: Some(3) });
    let (_, answer) = scale(Method::PUT, r#"{"all":{"min":0,"max":0}}"#).await;
    assert!(stored().await.is_disabled(), "{answer}");
    let (_, answer) = scale(Method::PATCH, r#"{"dev1":{"min":0,"max":"auto"}}"#).await;
    assert_eq!((stored().await, &answer["scale"]), (dockless_model::Scale::default(), &Value::Null));
}
