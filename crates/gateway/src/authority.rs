//! Which host a request is for, and whose that host is.

use dockless_model::{Host, ParseError};
use http::{HeaderValue, Version, header, request::Parts};

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The API, whatever the host.
    Api,
    /// Deployments, whatever the host.
    Apps,
    /// The API at IP addresses, `localhost`, `api.DOMAIN` and `DOMAIN`; deployments at every other host.
    Both,
    /// Deployments of the account whose sandbox asks, and never the API: for requests from inside.
    Inside,
}

impl Role {
    /// Whether requests for this host go to the API.
    pub(crate) fn is_api(self, host: &Host, domain: &Host) -> bool {
        match self {
            Self::Api => true,
            Self::Apps | Self::Inside => false,
            Self::Both => {
                host == domain
                    || host.as_str() == "localhost"
                    || host.label_under(domain) == Some("api")
                    || host.as_str().parse::<std::net::IpAddr>().is_ok()
            }
        }
    }
}

/// How a request reached us; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of an authority that writes none.
    const fn port(self) -> &'static str {
        match self {
            Self::Http => "80",
            Self::Https => "443",
        }
    }
}

/// Why a request does not say which host it is for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("request has no host")]
    Missing,
    #[error("request names more than one host")]
    Conflict,
    #[error("request has a host that is none")]
    Invalid(#[from] ParseError),
    #[error("request has a host that is not text")]
    NotText,
}

/// A request's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: Host,
    /// As the client wrote it, port included.
    pub(crate) text: HeaderValue,
    /// As the connection is, whatever the client says.
    pub(crate) scheme: Scheme,
}

impl Authority {
    /// Reads `Host` and the target's authority (HTTP/2: `:authority`), which must agree (RFC 9112 §3.2, §7.2): what one
    /// party on the way takes for the host another must not see differently.
    pub(crate) fn of(head: &Parts) -> Result<Self, AuthorityError> {
        let scheme = head.extensions.get().copied().unwrap_or(Scheme::Http);
        let mut fields = head.headers.get_all(header::HOST).iter();
        let field = fields.next();
        if fields.next().is_some() {
            return Err(AuthorityError::Conflict);
        }
        let target = head.uri.authority().map(http::uri::Authority::as_str);
        if field.is_none() && head.version == Version::HTTP_11 {
            return Err(AuthorityError::Missing);
        }
        let field = field.map(|value| value.to_str().map_err(|_| AuthorityError::NotText)).transpose()?;
        let text = target.or(field).ok_or(AuthorityError::Missing)?;
        let host = Host::from_authority(text)?;
        if let Some(field) = field
            && (Host::from_authority(field)? != host || port(field, scheme) != port(text, scheme))
        {
            return Err(AuthorityError::Conflict);
        }
        let text = HeaderValue::from_str(text).map_err(|_| AuthorityError::NotText)?;
        Ok(Self { host, text, scheme })
    }
}

/// The port as written; [`Host::from_authority`] has seen that it is a number.
fn port(authority: &str, scheme: Scheme) -> &str {
    let after = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    after.rsplit_once(':').map_or(scheme.port(), |(_, port)| port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn of(target: &str, hosts: &[&str], version: Version) -> Result<String, AuthorityError> {
        let mut request = Request::builder().uri(target).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Authority::of(&head).map(|authority| authority.host.to_string())
    }

    #[test]
    fn host_and_target_must_agree() {
        for (target, hosts, expected) in [
            ("/", &["A.localhost:3000"][..], Some("a.localhost")),
            ("/", &["a.localhost."], Some("a.localhost")),
            ("/", &["[::1]:3000"], Some("::1")),
            ("http://a.localhost/x", &["a.localhost"], Some("a.localhost")),
            ("http://a.localhost/x", &["a.localhost:80"], Some("a.localhost")),
            ("http://a.localhost:3000/x", &["a.localhost"], None),
            ("http://a.localhost/x", &["b.localhost"], None),
            ("http://a.localhost/x", &[], None),
            ("/", &[], None),
            ("/", &[""], None),
            ("/", &["a", "a"], None),
            ("/", &["a", "b"], None),
            ("/", &["a b"], None),
            ("/", &["a/b"], None),
            ("/", &["user@a"], None),
            ("/", &["a,b"], None),
        ] {
            let found = of(target, hosts, Version::HTTP_11);
            assert_eq!(found.as_deref().ok(), expected, "{target} {hosts:?}");
        }
        assert_eq!(of("http://a/x", &[], Version::HTTP_10).unwrap(), "a");
        assert!(matches!(of("/", &[], Version::HTTP_10), Err(AuthorityError::Missing)));
    }

    #[test]
    fn roles_divide_hosts() {
        let domain: Host = "example.org".parse().unwrap();
        for (host, api) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("localhost", true),
            ("example.org", true),
            ("api.example.org", true),
            ("www.example.org", false),
            ("x-1.example.org", false),
            ("api.x.example.org", false),
            ("api.localhost", false),
            ("other.net", false),
        ] {
            let host: Host = host.parse().unwrap();
            assert_eq!(Role::Both.is_api(&host, &domain), api, "{host}");
            assert!(Role::Api.is_api(&host, &domain) && !Role::Apps.is_api(&host, &domain));
        }
    }
}
