//! One spelling for the paths of all clients.

use http::Uri;

/// Drops a leading version segment (`/v13`), then a `/now` or `/www`, and slashes at the end.
pub(crate) fn normal(uri: &Uri) -> Uri {
    let mut path = uri.path();
    if let Some(rest) = path.strip_prefix("/v") {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits > 0 && rest[digits..].starts_with('/') {
            path = &rest[digits..];
        }
    }
    for prefix in ["/now/", "/www/"] {
        if path.starts_with(prefix) {
            path = &path[prefix.len() - 1..];
            break;
        }
    }
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    let target = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    // A part of a valid path with its own query is valid; "//x" alone would read as an authority.
    target.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_prefixes_and_slashes_are_dropped() {
        for (path, expected) in [
            ("/v13/deployments", "/deployments"),
            ("/v5/now/deployments?limit=1", "/deployments?limit=1"),
            ("/now/deployments/", "/deployments"),
            ("/deployments?", "/deployments?"),
            ("/www/user", "/user"),
            ("/v2/user", "/user"),
            ("/v2/now/files", "/files"),
            ("/v/now", "/v/now"),
            ("/v2", "/v2"),
            ("/vx/deployments", "/vx/deployments"),
            ("/v1/v1/deployments", "/v1/deployments"),
            ("/now/now/deployments", "/now/deployments"),
            ("/now", "/now"),
            ("/", "/"),
            ("/v1//", "/"),
            ("/v1//evil", "//evil"),
            ("/deployments/a%2Fb", "/deployments/a%2Fb"),
        ] {
            assert_eq!(normal(&path.parse().unwrap()).to_string(), expected, "{path}");
        }
    }
}
