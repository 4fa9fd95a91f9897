//! Connections of browsers and scripts: one request each, bounded in number and time.
//!
//! A client that is slow, says nothing, or says what is no request costs a connection for some seconds, and
//! nobody else a thing but that.

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at a time. More are closed at once.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// A client sends its whole request within this time.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// It has its whole answer within this time, if that is no stream.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// A stream goes on for as long; a browser asks again then.
const STREAM_TIME: Duration = Duration::from_secs(600);
/// A client that accepts no bytes for this long loses its connection.
const TAKING_TIME: Duration = Duration::from_secs(20);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The system may have no descriptor left; it will.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Marks an answer to a connection as a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting(Arc<AtomicBool>);

impl Lasting {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Serves all who connect, for ever.
pub(super) async fn serve(listener: TcpListener, routes: Router) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(pass) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let routes = routes.clone();
        tokio::spawn(async move {
            converse(stream, routes).await;
            drop(pass);
        });
    }
}

/// Reads a request and answers it; says it if the answer is a stream.
pub(super) fn answer_one<S>(
    stream: S,
    routes: Router,
    lasting: Lasting,
) -> impl Future<Output = hyper::Result<()>>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(lasting.clone());
        routes.call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(stream, service)
}

/// One request and its answer.
async fn converse(stream: TcpStream, routes: Router) {
    // Without this a client that takes nothing would keep a stream's connection for the stream's time.
    let _ = sockopt::set_tcp_user_timeout(&stream, TAKING_TIME.as_millis() as u32);
    let _ = stream.set_nodelay(true);
    let lasting = Lasting::default();
    let mut serving = pin!(answer_one(TokioIo::new(stream), routes, lasting.clone()));
    // How it ended is the client's business.
    let is_over = timeout(ANSWER_TIME, serving.as_mut()).await.is_ok();
    if !is_over && lasting.0.load(Ordering::Relaxed) {
        let _ = timeout(STREAM_TIME, serving).await;
    }
}
