//! The page that a node serves to browsers, with its API for scripts and its metrics: the views of
//! `banyan_view`, read only.
//!
//! `looking` looks at the cluster once a second while somebody watches, and keeps a quarter of an hour;
//! `server` bounds connections; `guard` says who is served, and `address` where; `routes` is what is there,
//! which docs/reference/page-api.md describes. Nothing here is on the way of a page fault.
//!
//! Threads: one looks, and one serves all connections. Locks: the history, alone and for a copy.

pub(crate) mod address;
pub mod fuzz;
mod guard;
mod looking;
mod routes;
mod server;
#[cfg(test)]
mod tests;

use super::sql::Facts;
use address::PageToken;
use looking::Views;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

/// A page that is going to be served.
#[derive(Debug)]
pub(crate) struct Page {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<PageToken>,
}

impl Page {
    /// On a listening socket. Who connects from another machine needs the token; where none can, there is
    /// none.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(listener: TcpListener, token: PageToken) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let token = address::needs_token(address).then_some(token);
        Ok(Self { listener, address, token })
    }

    /// What to type into a browser. If the page listens on all addresses, `own` stands in for them.
    pub(crate) fn url(&self, own: Option<IpAddr>) -> String {
        address::url(self.address, self.token.as_ref(), own)
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
