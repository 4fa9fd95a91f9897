//! The page that a node serves to browsers, with its API for scripts and its metrics: the views of
//! `banyan_view`, read only.
//!
//! `looking` looks at the cluster once a second while somebody watches, and keeps a quarter of an hour; `server`
//! bounds connections; `guard` says who is served; `routes` is what is there, which
//! docs/reference/page-api.md describes. Nothing here is on the way of a page fault.
//!
//! Threads: one looks, and one serves all connections. Locks: the history, alone and for a copy.

mod guard;
mod looking;
mod routes;
mod server;
#[cfg(test)]
mod tests;

use super::sql::Facts;
use banyan_wire::cluster::{read_letters, write_letters};
use looking::Views;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// Bytes of a token.
pub(crate) const SECRET_BYTES: usize = 16;

/// What lets a browser or a script in from another machine. It is shown to the person who has started the page
/// only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PageToken(String);

impl PageToken {
    /// Of these bytes, which nobody can guess.
    pub(crate) fn new(secret: [u8; SECRET_BYTES]) -> Self {
        struct Letters([u8; SECRET_BYTES]);
        impl fmt::Display for Letters {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_letters(&self.0, to)
            }
        }
        Self(Letters(secret).to_string())
    }

    /// One that was kept.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        read_letters::<SECRET_BYTES>(text).map(Self::new)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PageToken {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("PageToken")
    }
}

/// A page that is going to be served.
#[derive(Debug)]
pub(crate) struct Page {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<PageToken>,
}

impl Page {
    /// On a listening socket. Who connects from another machine needs the token; where none can, there is none.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(listener: TcpListener, token: PageToken) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let token = (!address.ip().is_loopback()).then_some(token);
        Ok(Self { listener, address, token })
    }

    /// What to type into a browser. A page that listens on all addresses is told by `own`, one of them.
    pub(crate) fn url(&self, own: Option<IpAddr>) -> String {
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() => own.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            ip => ip,
        };
        let address = SocketAddr::new(ip, self.address.port());
        match &self.token {
            None => format!("http://{address}/"),
            Some(token) => format!("http://{address}/?token={}", token.as_str()),
        }
    }

    /// Serves it in threads of their own, as long as the process lives.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start(self, facts: Arc<dyn Facts>) -> io::Result<()> {
        let views = Arc::new(Views::new());
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let seen = Arc::clone(&views);
        thread("page looks").spawn(move || seen.look_on(&facts))?;
        let Self { listener, address, token } = self;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let routes = routes::routes(views, guard::Guard { token, port: address.port() });
        thread("page").spawn(move || runtime.block_on(server::serve(listener, routes)))?;
        Ok(())
    }
}
