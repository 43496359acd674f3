//! A real server on a free port of the loopback, over the small machine of control's tests.
#![allow(dead_code, unreachable_pub, reason = "each test file uses another part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../control/tests/support/mod.rs"]
pub mod machine;

use dockless_api::Api;
use dockless_model::Secret;
use hyper_util::rt::TokioIo;
use machine::Server;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::{convert::Infallible, net::SocketAddr};

pub struct Http {
    pub server: Server,
    pub address: SocketAddr,
    pub client: Client,
    /// Of account `me`.
    pub token: Secret,
}

impl Http {
    pub async fn start() -> Self {
        Self::on(Server::start().await).await
    }

    pub async fn on(server: Server) -> Self {
        let (_, token) = server.account("me").await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Api::new(server.control.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = api.clone();
                let service = hyper::service::service_fn(move |request| {
                    let api = api.clone();
                    async move { Ok::<_, Infallible>(api.call(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { server, address, client: Client::new(), token }
    }

    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub fn with(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(self.token.expose())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        json(self.with(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        json(self.with(Method::POST, path).body(body).send().await.unwrap()).await
    }

    pub async fn upload(&self, digest: &str, bytes: &[u8]) -> (StatusCode, Value) {
        let request = self.with(Method::POST, "/v2/files").header("x-now-digest", digest);
        json(request.header("x-now-size", bytes.len()).body(bytes.to_vec()).send().await.unwrap()).await
    }

    /// Creates a deployment and waits until it is ready.
    pub async fn deploy(&self, name: &str) -> Value {
        let (status, made) =
            self.post("/v13/deployments?forceNew=1", machine::body(name, &[("index.html", "hello")])).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        let path = format!("/v13/deployments/{}", made["id"].as_str().unwrap());
        machine::until("the deployment is ready", async || {
            let (_, now) = self.get(&path).await;
            (now["readyState"] == "READY").then_some(now)
        })
        .await
    }
}

/// An answer's status and JSON. Every answer says that it is JSON and has a request id.
pub async fn json(response: Response) -> (StatusCode, Value) {
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert!(headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    let status = response.status();
    let value = response.json().await.unwrap();
    (status, value)
}

pub fn sha1(bytes: &[u8]) -> String {
    use sha1::Digest;
    data_encoding::HEXLOWER.encode(&sha1::Sha1::digest(bytes))
}
