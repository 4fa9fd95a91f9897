//! What a fuzzer calls: a request to the page, from its first byte to its answer, and tokens as text.
//!
//! The connection is memory: what it has is read, and then it waits for more, as a client does.

use super::address::PageToken;
use super::guard::Guard;
use super::looking::Views;
use super::routes::routes;
use super::server::{Lasting, answer_one};
use hyper::rt::{Read, ReadBufCursor, Write};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

/// What the token is made of.
const SECRET: [u8; 16] = *b"0123456789abcdef";
/// How often a connection goes on before it is let go: it waits for the client long before.
const POLLS_MAX: u32 = 16;

/// A client that has sent something, and takes whatever comes.
struct Client {
    sends: Vec<u8>,
    sent: usize,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Read for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count = (self.sends.len() - self.sent).min(into.remaining());
        if count == 0 {
            return Poll::Pending;
        }
        into.put_slice(&self.sends[self.sent..self.sent + count]);
        self.sent += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.got.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A request to a page that has a token: without it nothing is served.
///
/// # Panics
/// When something is served that must not be.
pub fn request(bytes: &[u8]) {
    let answer = answer_to(bytes);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "no answer of HTTP: {answer}");
    let token = PageToken::new(SECRET);
    let has_token = bytes.windows(token.as_str().len()).any(|window| window == token.as_str().as_bytes());
    let is_served = answer.get(9..10).is_some_and(|class| class == "2");
    assert!(has_token || !is_served, "served without a token: {answer}");
    assert!(!is_served || answer.contains("content-security-policy: "), "without its armour: {answer}");
    assert!(has_token || !answer.contains(token.as_str()), "the token is given away: {answer}");
}

/// What the page answers to these bytes, as far as it does before more of them come.
fn answer_to(bytes: &[u8]) -> String {
    let got = Arc::new(Mutex::new(Vec::new()));
    let client = Client { sends: bytes.to_vec(), sent: 0, got: Arc::clone(&got) };
    let guard = Guard { token: Some(PageToken::new(SECRET)), port: 7641 };
    let routes = routes(Arc::new(Views::new()), guard);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("the system has descriptors").block_on(async {
        let mut serving = pin!(answer_one(client, routes, Lasting::default()));
        let mut left = POLLS_MAX;
        poll_fn(|context| {
            left -= 1;
            match serving.as_mut().poll(context) {
                Poll::Pending if left > 0 => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                // How it ended is the client's business.
                _ => Poll::Ready(()),
            }
        })
        .await;
    });
    let got = got.lock();
    String::from_utf8_lossy(&got).into_owned()
}

/// A token that was kept: what is read is written alike.
///
/// # Panics
/// When decoding is wrong.
pub fn token(text: &str) {
    if let Some(token) = PageToken::parse(text) {
        // People type letters in either case.
        assert_eq!(token.as_str(), text.to_ascii_lowercase(), "two spellings of a token");
    }
}

/// Requests of a browser and of a script, with the token in each place where it may be, and without.
#[must_use]
pub fn request_inputs() -> Vec<Vec<u8>> {
    let token = PageToken::new(SECRET);
    let token = token.as_str();
    let host = "Host: 10.0.0.1:7641\r\n";
    [
        format!("GET /?token={token} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/history/7 HTTP/1.1\r\n{host}Authorization: Bearer {token}\r\n\r\n"),
        format!("GET /api/events HTTP/1.1\r\nHost: [::1]:7641\r\nCookie: a=b; banyan-7641={token}\r\n\r\n"),
        format!("HEAD /page.js HTTP/1.1\r\n{host}Sec-Fetch-Site: same-origin\r\n\r\n"),
        format!("POST /api/view HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic abc\r\n\r\n".into(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// A token, as it is kept.
#[must_use]
pub fn token_inputs() -> Vec<Vec<u8>> {
    vec![PageToken::new(SECRET).as_str().into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mutation begins from gets as far as it should, or it would walk about among refusals.
    #[test]
    fn the_first_requests_are_answered_as_a_client_would_see_it() {
        let answers = request_inputs().into_iter().map(|input| answer_to(&input)[9..12].to_owned());
        assert_eq!(answers.collect::<Vec<_>>(), ["303", "404", "200", "401", "405", "401"]);
        assert_eq!(answer_to(b"GET / HTTP/1.1\r\nHost: loc"), "");
    }
}
