//! People who use the API over and over, whether or not a server is there.

use dockless_testkit::{Api, Request, connect};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Somebody who calls the API, whether or not it is there.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) api: Api,
    pub(crate) address: SocketAddr,
}

/// One call; `None` if the server is gone.
pub(crate) fn call(caller: &Caller, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let request = if body.is_null() { Request::new(method, path) } else { Request::post(path, body.to_string()) };
    let answer = connect(caller.address, "127.0.0.1").ok()?.send(&caller.api.signed(request)).ok()?;
    Some((answer.status(), serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
}

/// What somebody does over and over until told to stop, whether or not a server is there.
pub(crate) fn busy(api: Caller, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>, step: fn(&Caller, usize) -> Option<()>) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match step(&api, number) {
            Some(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
            // Not a wait for anything: a server that is gone need not be asked a thousand times a second.
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn site(number: usize) -> Value {
    json!({ "version": 2, "name": "busy", "env": { "N": number.to_string() },
        "files": [{ "file": "index.html", "data": format!("page {number}") }] })
}

pub(crate) fn deploys(api: &Caller, number: usize) -> Option<()> {
    call(api, "POST", "/v13/deployments?forceNew=1", &site(number)).map(|_| ())
}

pub(crate) fn removes(api: &Caller, _: usize) -> Option<()> {
    let (_, list) = call(api, "GET", "/v6/deployments?app=busy&limit=100", &Value::Null)?;
    let all = list["deployments"].as_array()?;
    let last = all.get(5..).and_then(|old| old.last())?;
    call(api, "DELETE", &format!("/v13/deployments/{}", last["id"].as_str()?), &Value::Null).map(|_| ())
}

pub(crate) fn moves(api: &Caller, number: usize) -> Option<()> {
    let (_, list) = call(api, "GET", "/v6/deployments?app=busy&state=READY&limit=4", &Value::Null)?;
    let all = list["deployments"].as_array()?;
    let one = all.get(number % all.len().max(1))?["id"].as_str()?;
    match number % 3 {
        0 => call(api, "POST", &format!("/v9/projects/busy/promote/{one}"), &json!({}))?,
        1 => call(api, "POST", "/v9/projects/busy/rollback", &json!({}))?,
        _ => call(api, "POST", &format!("/v2/deployments/{one}/aliases"), &json!({ "alias": "shop" }))?,
    };
    Some(())
}

pub(crate) fn accounts(api: &Caller, number: usize) -> Option<()> {
    let name = format!("a{}", number % 3);
    let (_, made) = call(api, "POST", "/v1/accounts", &json!({ "username": name }))?;
    if let Some(token) = made["bearerToken"].as_str() {
        let theirs = Caller { api: api.api.with_token(Some(token)), address: api.address };
        call(&theirs, "POST", "/v2/secrets", &json!({ "name": "s", "value": "hush" }))?;
        call(&theirs, "POST", "/v9/projects", &json!({ "name": "theirs" }))?;
        let variable = json!({ "key": "S", "value": "@s", "target": ["preview"] });
        call(&theirs, "POST", "/v10/projects/theirs/env", &variable)?;
        let body = json!({ "version": 2, "name": "theirs", "files": [{ "file": "index.html", "data": name }] });
        call(&theirs, "POST", "/v13/deployments", &body)?;
    }
    call(api, "DELETE", &format!("/v1/accounts/{name}"), &Value::Null).map(|_| ())
}

/// Uploads a megabyte that nobody has, so that there is a middle.
pub(crate) fn uploads(caller: &Caller, number: usize) -> Option<()> {
    // Whoever fills the disk tests something else.
    std::thread::sleep(Duration::from_millis(50));
    let mut bytes = vec![0_u8; 1 << 20];
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&(number as u64 ^ (at as u64) << 20 ^ 0x5eed).to_le_bytes());
    }
    let request = caller.api.signed(Api::upload_of(&bytes));
    connect(caller.address, "127.0.0.1").ok()?.send(&request).ok().map(|_| ())
}

/// Deploys a function that nobody has: its bundle is imported.
pub(crate) fn functions(caller: &Caller, number: usize) -> Option<()> {
    let text = format!("module.exports = (req, res) => res.send('page {number}'); // {}", "x".repeat(number % 5000));
    // Building is slower than asking for it.
    std::thread::sleep(Duration::from_millis(40));
    let mut files = vec![json!({ "file": "api/a.js", "data": text }), json!({ "file": "index.html", "data": "page" })];
    files
        .extend((0..60).map(|file| json!({ "file": format!("lib/{file}.js"), "data": format!("// {number} {file}") })));
    let body = json!({ "version": 2, "name": "busy", "files": files });
    call(caller, "POST", "/v13/deployments?forceNew=1", &body).map(|_| ())
}
