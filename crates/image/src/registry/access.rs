//! Logging in to a registry: what it asks for in `WWW-Authenticate` (RFC 9110 §11.6.1; Docker's token specification).

use super::{Registry, message, secret_header, shown};
use crate::PullError;
use crate::document::shortened;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use dockless_model::Secret;
use reqwest::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};

/// A login, as the files of docker and podman know them.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Name and password (or a token in its place).
    Password {
        /// Who.
        username: String,
        /// The password.
        password: Secret,
    },
    /// To be exchanged for tokens: what credential helpers call the user `<token>`.
    IdentityToken(Secret),
    /// Sent as it is.
    RegistryToken(Secret),
}

impl Credentials {
    /// Reads the value of `X-Registry-Auth` (Docker Engine API, "Authentication"): base64url of JSON. `None` for one that
    /// says nothing.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        struct Sent {
            #[serde(default)]
            username: String,
            password: Option<Secret>,
            identitytoken: Option<Secret>,
            registrytoken: Option<Secret>,
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.trim_end_matches('=').as_bytes())
            .map_err(|_| "expected base64url of a JSON object")?;
        let sent: Sent = serde_json::from_slice(&bytes)
            .map_err(|_| "expected a JSON object with username and password, identitytoken or registrytoken")?;
        let full = |token: Option<Secret>| token.filter(|token| !token.expose().is_empty());
        if let Some(token) = full(sent.registrytoken) {
            return Ok(Some(Self::RegistryToken(token)));
        }
        if let Some(token) = full(sent.identitytoken) {
            return Ok(Some(Self::IdentityToken(token)));
        }
        Ok(full(sent.password).map(|password| Self::Password { username: sent.username, password }))
    }

    /// The value that [`Self::parse`] reads.
    #[must_use]
    pub fn header(&self) -> Secret {
        let json = match self {
            Self::Password { username, password } => {
                serde_json::json!({ "username": username, "password": password.expose() })
            }
            Self::IdentityToken(token) => serde_json::json!({ "identitytoken": token.expose() }),
            Self::RegistryToken(token) => serde_json::json!({ "registrytoken": token.expose() }),
        };
        Secret::new(BASE64URL_NOPAD.encode(json.to_string().as_bytes()))
    }
}

/// What is known of the login.
#[derive(Debug)]
pub(super) struct Access {
    credentials: Option<Credentials>,
    /// The value of the `Authorization` header that was last accepted, or is to be tried.
    header: Mutex<Option<Secret>>,
}

impl Access {
    pub(super) fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials, header: Mutex::new(None) }
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn header(&self) -> Option<Secret> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, header: Secret) {
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
    }

    fn basic(&self) -> Option<Secret> {
        match self.credentials.as_ref()? {
            Credentials::Password { username, password } => {
                let pair = BASE64.encode(format!("{username}:{}", password.expose()).as_bytes());
                Some(Secret::new(format!("Basic {pair}")))
            }
            _ => None,
        }
    }
}

impl Registry {
    /// Gets what the registry asks for; `false` if there is nothing to offer.
    pub(super) async fn log_in(&self, headers: &HeaderMap) -> Result<bool, PullError> {
        let asked: Vec<Challenge> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter_map(Challenge::parse)
            .collect();
        if let Some(Credentials::RegistryToken(token)) = &self.access.credentials {
            self.access.set(Secret::new(format!("Bearer {}", token.expose())));
            return Ok(true);
        }
        if let Some(bearer) = asked.iter().find(|one| one.scheme == "bearer") {
            let token = self.token(bearer).await?;
            self.access.set(Secret::new(format!("Bearer {}", token.expose())));
            return Ok(true);
        }
        let basic = self.access.basic().filter(|_| asked.iter().any(|one| one.scheme == "basic"));
        let offered = basic.is_some();
        if let Some(basic) = basic {
            self.access.set(basic);
        }
        Ok(offered)
    }

    /// A token of the server that the registry names. Without a login it is one for everybody.
    async fn token(&self, asked: &Challenge) -> Result<Secret, PullError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<Secret>,
            access_token: Option<Secret>,
        }
        let realm = asked.get("realm").and_then(|realm| realm.parse::<Url>().ok());
        let realm =
            realm.ok_or_else(|| PullError::Document("the registry asks for a token without saying where".into()))?;
        self.must_be_safe(&realm)?;
        let scope = format!("repository:{}:pull", self.reference.repository());
        let service = asked.get("service").unwrap_or_default();
        let request = match &self.access.credentials {
            Some(Credentials::IdentityToken(token)) => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("scope", &scope),
                    ("client_id", "dockless"),
                    ("refresh_token", token.expose()),
                ];
                let body = form.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect::<Vec<_>>();
                self.http
                    .post(realm.clone())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body.join("&"))
            }
            _ => {
                let request = self.http.get(realm.clone()).query(&[("service", service), ("scope", &scope)]);
                match self.access.basic() {
                    Some(basic) => request.header(AUTHORIZATION, secret_header(&basic)),
                    None => request,
                }
            }
        };
        let response = request.send().await.map_err(|error| self.unreachable(&realm, &error))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) {
            let (host, message) = (self.host(), message(response).await);
            return Err(PullError::Unauthorized { host, logged_in: self.access.has_credentials(), message });
        }
        if !status.is_success() {
            let (host, message) = (shown(&realm), message(response).await);
            return Err(PullError::Status {
                host,
                status: status.as_u16(),
                what: "a request for a token".into(),
                message,
            });
        }
        let nonsense = || PullError::Document(format!("{} gives no token", shortened(&shown(&realm))));
        let answer: Answer = response.json().await.map_err(|_| nonsense())?;
        answer.token.or(answer.access_token).ok_or_else(nonsense)
    }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// `Bearer realm="https://auth.example/token",service="registry.example"`
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut parameters = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', ',', '\t']);
            let Some((key, after)) = rest.split_once('=') else { break };
            let value;
            (value, rest) = match after.strip_prefix('"') {
                Some(quoted) => quoted_string(quoted)?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (after[..end].trim().to_owned(), &after[end..])
                }
            };
            parameters.push((key.trim().to_ascii_lowercase(), value));
        }
        let scheme = scheme.to_ascii_lowercase();
        (!scheme.is_empty()).then_some(Self { scheme, parameters })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// Up to the closing quote; a backslash escapes what follows it.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_all_their_quotes() {
        let challenge = r#"Bearer realm="https://a.example/t?x=1,2",service="r \"q\"",scope="repository:a/b:pull""#;
        let parsed = Challenge::parse(challenge).unwrap();
        assert_eq!(parsed.scheme, "bearer");
        assert_eq!(parsed.get("realm"), Some("https://a.example/t?x=1,2"));
        assert_eq!(parsed.get("service"), Some("r \"q\""));
        assert_eq!(Challenge::parse("Basic realm=plain, x=y").unwrap().get("realm"), Some("plain"));
        assert_eq!(Challenge::parse("Negotiate").unwrap().scheme, "negotiate");
        assert_eq!(Challenge::parse(r#"Bearer realm="cut"#), None);
        assert_eq!(Challenge::parse(""), None);
    }

    #[test]
    fn logins_travel_as_docker_sends_them() {
        let password = Credentials::Password { username: "me".into(), password: Secret::new("p:w".to_owned()) };
        match Credentials::parse(password.header().expose()) {
            Ok(Some(Credentials::Password { username, password })) => {
                assert_eq!((username.as_str(), password.expose()), ("me", "p:w"));
            }
            other => panic!("{other:?}"),
        }
        let token = Credentials::IdentityToken(Secret::new("t".to_owned()));
        assert!(matches!(Credentials::parse(token.header().expose()), Ok(Some(Credentials::IdentityToken(_)))));
        // What docker sends without a login.
        assert!(matches!(Credentials::parse("e30="), Ok(None)));
        for bad in ["", "!", "W10"] {
            assert!(Credentials::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_do_not_show_in_debug() {
        let secret = Credentials::Password { username: "me".into(), password: Secret::new("hunter2".to_owned()) };
        let access = Access::new(Some(secret));
        access.set(access.basic().unwrap());
        assert!(!format!("{access:?}").contains("hunter2"));
        assert!(!format!("{access:?}").contains(&BASE64.encode(b"me:hunter2")));
    }
}
