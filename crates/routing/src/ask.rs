//! What a route may look at of a request.

use std::borrow::Cow;

/// A request as routes see it, beside its path and query. `header` gives the value of a field by its name in lower case.
pub struct Ask<'a> {
    /// `GET`
    pub method: &'a str,
    /// Without a port.
    pub host: &'a str,
    /// A field's value; several joined by commas.
    pub header: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("method", &self.method).field("host", &self.host).finish_non_exhaustive()
    }
}

impl Ask<'_> {
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let all = (self.header)("cookie")?;
        let mut pairs = all.split([';', ',']).filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().trim_matches('"').to_owned())
    }
}

/// The decoded value of a parameter of a query; the first of several.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form(key) == name).then(|| form(value).into_owned())
    })
}

/// A name or value of a form, decoded.
fn form(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_decoded() {
        assert_eq!(parameter("a=1&b=x+y%21&b=2", "b").as_deref(), Some("x y!"));
        assert_eq!(parameter("a", "a").as_deref(), Some(""));
        assert_eq!(parameter("a=1", "b"), None);
        let header = |name: &str| (name == "cookie").then(|| "a=1; session=\"x\"".to_owned());
        let ask = Ask { method: "GET", host: "h", header: &header };
        assert_eq!((ask.cookie("session").as_deref(), ask.cookie("b")), (Some("x"), None));
    }
}
