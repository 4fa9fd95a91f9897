//! Who is served, and with which headers: requests of this page's own origin, and of those who have the token
//! where other machines reach it.
//!
//! A page of another site that a person has open must not read what is here: not by a request of its own (no
//! answer allows other origins, and what browsers say of where a request comes from is looked at), and not by
//! giving its own name this address ("DNS rebinding": a host that is a name is refused).

use super::address::PageToken;
use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode, Uri};
use std::net::{Ipv4Addr, Ipv6Addr};
use subtle::ConstantTimeEq;

/// Nothing but what this server gives, and nobody may have it in a frame.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Where browsers say that a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What decides about requests.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// Without one everybody on this machine is served.
    pub(super) token: Option<PageToken>,
    /// Where the page listens; cookies are not told apart by it.
    pub(super) port: u16,
}

/// What is decided about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Serve,
    /// The token came in the address, where it does not stay: it becomes a cookie.
    Remember(String),
    Refuse(StatusCode, &'static str),
}

impl Guard {
    /// Decides about a request.
    pub(super) fn decide(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Verdict {
        if method != Method::GET && method != Method::HEAD {
            return Verdict::Refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET: nothing can be changed here\n",
            );
        }
        if !is_own_host(headers) {
            let reason = "say the address of this page by its number, or as localhost\n";
            return Verdict::Refuse(StatusCode::MISDIRECTED_REQUEST, reason);
        }
        // A link on another site may lead here, and to nothing else.
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        if !matches!(site, None | Some(b"same-origin" | b"none")) && uri.path() != "/" {
            return Verdict::Refuse(StatusCode::FORBIDDEN, "asked for by another site\n");
        }
        let Some(token) = &self.token else { return Verdict::Serve };
        let is_good = |given: &str| bool::from(given.as_bytes().ct_eq(token.as_str().as_bytes()));
        if self.given(headers).any(is_good) {
            return Verdict::Serve;
        }
        if uri.path() == "/" && in_query(uri).is_some_and(is_good) {
            let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie(), token.as_str());
            return Verdict::Remember(cookie);
        }
        Verdict::Refuse(
            StatusCode::UNAUTHORIZED,
            "a token is missing: open the address that `banyan status` prints on that node, or send it as \
             Authorization: Bearer TOKEN\n",
        )
    }

    /// Tokens that a request brings along.
    fn given<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let name = format!("{}=", self.cookie());
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let cookies = cookies.flat_map(|line| line.split("; "));
        bearer.into_iter().chain(cookies.filter_map(move |cookie| cookie.strip_prefix(name.as_str())))
    }

    /// A cookie for each port, since a browser sends those of all ports of a host.
    fn cookie(&self) -> String {
        format!("banyan-{}", self.port)
    }
}

fn in_query(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// Whether a request is for an address that is a number, or for `localhost`: no site can have such a name.
/// Any port is right: it may be forwarded.
fn is_own_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return false;
    };
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port = port.strip_prefix(':').unwrap_or(port);
        return address.parse::<Ipv6Addr>().is_ok() && is_port(port);
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok()) && is_port(port)
}

fn is_port(port: &str) -> bool {
    port.is_empty() || port.parse::<u16>().is_ok()
}

/// Judges a request, and answers it if it is not served.
pub(super) fn refusal(guard: &Guard, request: &Request<Body>) -> Option<Response<Body>> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    };
    match guard.decide(request.method(), request.uri(), request.headers()) {
        Verdict::Serve => None,
        Verdict::Refuse(status, text) => Some(plain(status, text)),
        Verdict::Remember(cookie) => {
            let mut response = plain(StatusCode::SEE_OTHER, "");
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
            // It is made of letters and digits.
            if let Ok(cookie) = HeaderValue::try_from(cookie) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            Some(response)
        }
    }
}

/// Adds what every answer says.
pub(super) fn armour(response: &mut Response<Body>) {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "abcd1234";

    fn judged(token: Option<&str>, method: &Method, path: &str, headers: &[(&str, &str)]) -> Verdict {
        let guard = Guard { token: token.map(PageToken::of_text), port: 7641 };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        guard.decide(method, &path.parse().unwrap(), &map)
    }

    fn status(verdict: &Verdict) -> u16 {
        match verdict {
            Verdict::Serve => 200,
            Verdict::Remember(_) => 303,
            Verdict::Refuse(status, _) => status.as_u16(),
        }
    }

    #[test]
    fn only_hosts_that_no_site_can_be_called_are_served() {
        let served = |host: &str| status(&judged(None, &Method::GET, "/api/view", &[("host", host)])) == 200;
        for host in
            ["127.0.0.1:7641", "127.0.0.1", "localhost:9", "LocalHost", "[::1]:7641", "[::1]", "10.0.0.1:80"]
        {
            assert!(served(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7641",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            ":7641",
            "127.0.0.1:7641:1",
            "127.0.0.1:x",
            "[::1",
            "[evil]:1",
            "[::1]x",
            "0x7f000001",
            "2130706433",
            "127.1",
        ] {
            assert!(!served(host), "{host}");
        }
        assert_eq!(status(&judged(None, &Method::GET, "/", &[])), 421);
        let two = [("host", "127.0.0.1"), ("host", "127.0.0.1")];
        assert_eq!(status(&judged(None, &Method::GET, "/", &two)), 421);
    }

    #[test]
    fn another_site_may_lead_here_and_read_nothing() {
        let from = |site: &str, path: &str| {
            let headers = [("host", "127.0.0.1:7641"), ("sec-fetch-site", site)];
            status(&judged(None, &Method::GET, path, &headers))
        };
        for (site, path, expected) in [
            ("same-origin", "/api/view", 200),
            ("none", "/api/view", 200),
            ("cross-site", "/api/view", 403),
            ("same-site", "/api/events", 403),
            ("cross-site", "/", 200),
            ("nonsense", "/metrics", 403),
        ] {
            assert_eq!(from(site, path), expected, "{site} {path}");
        }
    }

    #[test]
    fn nothing_but_reading_is_possible() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT] {
            assert_eq!(status(&judged(None, &method, "/", &[("host", "localhost")])), 405);
        }
        assert_eq!(status(&judged(None, &Method::HEAD, "/", &[("host", "localhost")])), 200);
    }

    #[test]
    fn who_has_the_token_is_served_and_nobody_else() {
        let given = |path: &str, name: &str, value: &str| {
            judged(Some(TOKEN), &Method::GET, path, &[("host", "10.0.0.1:7641"), (name, value)])
        };
        assert_eq!(status(&given("/api/view", "accept", "*/*")), 401);
        for (name, value, expected) in [
            ("authorization", "Bearer abcd1234", 200),
            ("authorization", "Bearer abcd123", 401),
            ("authorization", "Bearer abcd12345", 401),
            ("authorization", "Bearer ", 401),
            ("authorization", "Basic abcd1234", 401),
            ("cookie", "a=b; banyan-7641=abcd1234", 200),
            ("cookie", "banyan-7642=abcd1234", 401),
            ("cookie", "xbanyan-7641=abcd1234", 401),
        ] {
            assert_eq!(status(&given("/api/view", name, value)), expected, "{name}: {value}");
        }
        // In the address it is good for the page only, and goes from there into a cookie.
        let Verdict::Remember(cookie) = given("/?x=1&token=abcd1234", "accept", "*/*") else { panic!() };
        assert_eq!(cookie, "banyan-7641=abcd1234; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(status(&given("/?token=abcd1235", "accept", "*/*")), 401);
        assert_eq!(status(&given("/api/view?token=abcd1234", "accept", "*/*")), 401);
    }
}
