//! The page over real sockets: what it says is what the tables say, and clients that are slow, many, or no
//! clients at all harm nobody else.

use super::Page;
use super::address::PageToken;
use super::routes::STREAMS_MAX;
use super::server::CONNECTIONS_MAX;
use crate::observe::sql::tests::Small;
use crate::observe::sql::{Facts, answer};
use banyan_wire::sql::{Cell, QueryMessage};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a page may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Bytes of all that a browser loads.
const ASSETS_MAX: usize = 100 << 10;

fn alone() -> Arc<dyn Facts> {
    Small::facts("<b>alone</b>", 1, Vec::new())
}

fn page(address: &str) -> (SocketAddr, PageToken) {
    let token = PageToken::new([7; 16]);
    let page = Page::new(TcpListener::bind(address).unwrap(), token.clone()).unwrap();
    let address = page.address;
    page.start(alone()).unwrap();
    (address, token)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// All that a server says to some bytes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // One that has heard enough closes before all is said.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str, more: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n").as_bytes())
}

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The first view; there is none before the first look has ended.
fn view(address: SocketAddr) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = get(address, "/api/view", "");
        if status(&answer) == Some(200) {
            return serde_json::from_str(body(&answer)).unwrap();
        }
        assert!(status(&answer) == Some(404) && Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_view_is_what_the_tables_say() {
    let (address, _) = page("127.0.0.1:0");
    let view = view(address);
    let (mut names, mut row) = (Vec::new(), Vec::new());
    let sql = "SELECT node, state, address, cpus, memory_bytes, version, process, jobs FROM nodes";
    answer(&alone(), sql, true, || true, &mut |message| {
        match message {
            QueryMessage::Columns(columns) => names.clone_from(columns),
            QueryMessage::Rows(cells) => row.clone_from(cells),
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    assert_eq!((names.len(), row.len()), (8, 8));
    for (name, cell) in names.iter().zip(&row) {
        let expected = match cell {
            Cell::Null => Value::Null,
            Cell::Integer(number) => (*number).into(),
            Cell::Real(number) => (*number).into(),
            Cell::Text(text) => text.as_str().into(),
        };
        assert_eq!(view["nodes"][0][name], expected, "{name}");
    }
    assert_eq!(view["nodes"][0]["node"], "<b>alone</b>");
    assert!(view["events"][0]["text"].as_str().unwrap().starts_with("<b>alone</b> 0 "), "{view}");
    let metrics = get(address, "/metrics", "");
    assert!(metrics.contains("banyan_node_up{node=\"<b>alone</b>\"} 1\n"), "{metrics}");
    // What was seen can be seen again.
    let history: Value = serde_json::from_str(body(&get(address, "/api/history", ""))).unwrap();
    let number = &history[0]["number"];
    let again: Value =
        serde_json::from_str(body(&get(address, &format!("/api/history/{number}"), ""))).unwrap();
    assert_eq!(again["at_s"], history[0]["at_s"]);
    for wrong in ["/api/history/-1", "/api/history/x", "/api/history/99999999999999999999999", "/nothing"] {
        assert_eq!(status(&get(address, wrong, "")), Some(404), "{wrong}");
    }
}

#[test]
fn a_stream_brings_a_view_at_once_and_another_each_second() {
    let (address, _) = page("127.0.0.1:0");
    view(address);
    let begun = Instant::now();
    let mut stream = connect(address);
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while text.matches("event: view").count() < 4 {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0 && begun.elapsed() < SOON, "{text}");
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    // Three more looks, which are a second apart; the first may have been due.
    assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn every_answer_has_the_headers_that_keep_others_out() {
    let (address, _) = page("127.0.0.1:0");
    view(address);
    for (path, more, expected) in [
        ("/", "", 200),
        ("/page.js", "", 200),
        ("/page.css", "", 200),
        ("/api/view", "", 200),
        ("/nothing", "", 404),
        ("/api/view", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("/", "Host: evil.example\r\n", 421),
    ] {
        let answer = get(address, path, more).to_lowercase();
        assert_eq!(status(&answer.replace("http/", "HTTP/")), Some(expected), "{path}: {answer}");
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{path}: {header}: {answer}");
        }
        assert!(!answer.contains("access-control-allow-origin"), "{path}");
    }
    assert_eq!(status(&exchange(address, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")), Some(405));
    let evil = exchange(address, b"GET /api/view HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(status(&evil), Some(421));
}

#[test]
fn the_page_is_small_and_asks_nobody_else_for_anything() {
    let assets = [
        include_str!("assets/page.html"),
        include_str!("assets/page.css"),
        include_str!("assets/page.js"),
        include_str!("assets/icon.svg"),
    ];
    assert!(assets.iter().map(|asset| asset.len()).sum::<usize>() < ASSETS_MAX);
    for asset in assets {
        // The name of a language, which nobody fetches.
        let asset = asset.replace("\"http://www.w3.org/2000/svg\"", "");
        for word in [
            "http:",
            "https:",
            "//cdn",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "eval(",
            "document.write",
        ] {
            assert!(!asset.contains(word), "{word}");
        }
    }
    assert!(
        !assets[0].contains("style=") && !assets[0].contains("onclick") && !assets[0].contains("<script>")
    );
}

#[test]
fn where_other_machines_reach_it_the_token_lets_in() {
    let (address, token) = page("0.0.0.0:0");
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    for path in ["/", "/page.js", "/api/view", "/api/events", "/metrics", "/api/history"] {
        assert_eq!(status(&get(address, path, "")), Some(401), "{path}");
    }
    let bearer = format!("Authorization: Bearer {}\r\n", token.as_str());
    assert_eq!(status(&get(address, "/", &bearer)), Some(200));
    let first = get(address, &format!("/?token={}", token.as_str()), "");
    assert_eq!(status(&first), Some(303));
    let cookie = first.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    assert_eq!(status(&get(address, "/", &format!("Cookie: {cookie}\r\n"))), Some(200));
    assert_eq!(PageToken::parse(token.as_str()), Some(token));
    assert_eq!(PageToken::parse("short"), None);
}

#[test]
fn the_address_that_is_told_is_one_that_can_be_opened() {
    let own = Some("10.0.0.7".parse().unwrap());
    let url = |listen: &str| {
        let page = Page::new(TcpListener::bind(listen).unwrap(), PageToken::new([0; 16])).unwrap();
        page.url(own).replace(&page.address.port().to_string(), "PORT")
    };
    assert_eq!(url("127.0.0.1:0"), "http://127.0.0.1:PORT/");
    assert_eq!(url("[::1]:0"), "http://[::1]:PORT/");
    assert_eq!(url("0.0.0.0:0"), format!("http://10.0.0.7:PORT/?token={}", "0".repeat(26)));
}

#[test]
fn what_is_no_request_ends_the_connection_and_nothing_else() {
    let (address, _) = page("127.0.0.1:0");
    view(address);
    let long =
        [b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".as_slice(), &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
    let many = ["GET / HTTP/1.1\r\nHost: localhost\r\n", &"a: b\r\n".repeat(5000), "\r\n"].concat();
    let random: Vec<u8> = (0..100_000).map(|_| fastrand::u8(..)).collect();
    let endless = [b"GET /".as_slice(), &vec![b'a'; 1 << 20]].concat();
    for (bytes, what) in [
        (long.as_slice(), "a long header"),
        (many.as_bytes(), "many headers"),
        (&random, "noise"),
        (&endless, "an endless line"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "TLS"),
        (b"GET / HTTP/9.9\r\n\r\n", "another version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "two lengths"),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", "a proxy's request"),
    ] {
        let answer = exchange(address, bytes);
        assert!(!answer.starts_with("HTTP/1.1 200") || what == "two lengths", "{what}: {answer}");
    }
    // Two requests at once have one answer, and the end.
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    assert_eq!(exchange(address, request.repeat(2).as_bytes()).matches("HTTP/1.1 ").count(), 1);
    assert_eq!(status(&get(address, "/", "")), Some(200));
}

#[test]
fn silent_and_slow_clients_are_let_go_and_others_served() {
    let (address, _) = page("127.0.0.1:0");
    view(address);
    let begun = Instant::now();
    let mut idle: Vec<TcpStream> = (0..CONNECTIONS_MAX + 8).map(|_| connect(address)).collect();
    // A byte now and then is no request.
    let mut byte = [0];
    for stream in &mut idle {
        let _ = stream.write_all(b"G");
        // Closed at once, or when its time is over.
        assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)), "a byte of an answer to no request");
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(20), "{took:?}");
    assert_eq!(status(&get(address, "/", "")), Some(200));
}

#[test]
fn so_many_can_watch_and_a_place_is_free_when_one_leaves() {
    let (address, _) = page("127.0.0.1:0");
    view(address);
    let watch = || {
        let mut stream = connect(address);
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let mut watching: Vec<_> = (0..STREAMS_MAX).map(|_| watch()).collect();
    assert!(watching.iter().all(|(_, head)| head == "HTTP/1.1 200"));
    assert_eq!(watch().1, "HTTP/1.1 503");
    assert_eq!(status(&get(address, "/", "")), Some(200));
    watching.pop();
    let deadline = Instant::now() + SOON;
    while watch().1 != "HTTP/1.1 200" {
        assert!(Instant::now() < deadline, "a place of one who left is not free");
        std::thread::sleep(Duration::from_millis(50));
    }
}
