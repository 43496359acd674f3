//! Which content coding a client gets, RFC 9110 §12.5.3.

use dockless_model::output::Encoded;
use http::{HeaderMap, header};

/// The coding among those of a file that the client likes best; of equals the smallest, which stands first. `None`: the
/// file as it is, which every client takes.
pub(crate) fn choose<'a>(encodings: &'a [Encoded], headers: &HeaderMap) -> Option<&'a Encoded> {
    if encodings.is_empty() || !headers.contains_key(header::ACCEPT_ENCODING) {
        return None;
    }
    let accepted = |name: &str| -> u16 {
        let (mut own, mut any) = (None, None);
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let coding = coding.trim();
            if coding.eq_ignore_ascii_case(name) {
                own = Some(weight(parameters));
            } else if coding == "*" {
                any = Some(weight(parameters));
            }
        }
        own.or(any).unwrap_or(0)
    };
    let mut best: Option<(u16, &Encoded)> = None;
    for encoded in encodings {
        let weight = accepted(encoded.coding.as_str());
        if weight > best.map_or(0, |(best, _)| best) {
            best = Some((weight, encoded));
        }
    }
    best.map(|(_, encoded)| encoded)
}

/// `q=0.5` in thousandths; what cannot be read counts for nothing.
fn weight(parameters: &str) -> u16 {
    let Some(value) = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    }) else {
        return 1_000;
    };
    let (whole, rest) = value.split_once('.').unwrap_or((value, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" if digits && rest.bytes().all(|byte| byte == b'0') => 1_000,
        "0" if digits => format!("{rest:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::{Digest, output::Coding};
    use http::HeaderValue;

    #[test]
    fn clients_get_what_they_like_best_and_the_smallest_of_equals() {
        let encoded = |coding, size| Encoded { coding, blob: Digest::of(&[]), size };
        let all = [encoded(Coding::Br, 10), encoded(Coding::Zstd, 11), encoded(Coding::Gzip, 12)];
        for (accept, coding) in [
            (None, None),
            (Some(""), None),
            (Some("identity"), None),
            (Some("gzip"), Some(Coding::Gzip)),
            (Some("GZIP, deflate"), Some(Coding::Gzip)),
            (Some("gzip, deflate, br, zstd"), Some(Coding::Br)),
            (Some("gzip, zstd"), Some(Coding::Zstd)),
            (Some("gzip;q=1.0, br;q=0.9, *;q=0.1"), Some(Coding::Gzip)),
            (Some("gzip;q=0.5, br;q=0.501"), Some(Coding::Br)),
            (Some("br;q=0, gzip"), Some(Coding::Gzip)),
            (Some("br;q=0, *"), Some(Coding::Zstd)),
            (Some("*"), Some(Coding::Br)),
            (Some("*;q=0"), None),
            (Some("br;q=0.000"), None),
            (Some("br;q=2, zstd;q=x, gzip;q=0.1"), Some(Coding::Gzip)),
            (Some("brotli, xgzip"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
            }
            assert_eq!(choose(&all, &headers).map(|encoded| encoded.coding), coding, "{accept:?}");
        }
        let mut two = HeaderMap::new();
        two.append(header::ACCEPT_ENCODING, HeaderValue::from_static("deflate"));
        two.append(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(choose(&all, &two).map(|encoded| encoded.coding), Some(Coding::Gzip));
    }
}
