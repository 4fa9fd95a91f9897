//! Where a page is, and what lets others in: what is known of it before it is served.

use crate::random::random;
use banyan_wire::cluster::{read_letters, write_letters};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Bytes of a token.
pub(crate) const SECRET_BYTES: usize = 16;

/// What lets a browser or a script in from another machine. It is shown to the person who has started the
/// page only.
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

    #[cfg(test)]
    pub(super) fn of_text(text: &str) -> Self {
        Self(text.into())
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

/// Whether other machines reach an address, so that a token has to keep them out.
pub(crate) fn needs_token(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}

/// What to type into a browser. If the page listens on all addresses, `own` stands in for them.
pub(crate) fn url(address: SocketAddr, token: Option<&PageToken>, own: Option<IpAddr>) -> String {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => own.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    match token {
        None => format!("http://{address}/"),
        Some(token) => format!("http://{address}/?token={}", token.as_str()),
    }
}

/// A page of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageSettings {
    /// Number of the socket that the node inherits, on which it serves the page.
    pub listener: i32,
    /// What the token is made of.
    pub secret: [u8; 16],
}

/// A page that a run is to have: where it listens, and what lets others in.
#[derive(Debug)]
pub struct PageOffer {
    listener: TcpListener,
    secret: [u8; 16],
}

impl PageOffer {
    /// Listens for the page's readers.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address)?, secret: random()? })
    }

    /// What to type into a browser.
    ///
    /// # Errors
    /// The system's.
    pub fn url(&self) -> io::Result<String> {
        let address = self.listener.local_addr()?;
        let token = PageToken::new(self.secret);
        Ok(url(address, needs_token(address).then_some(&token), None))
    }

    /// For the node that serves it.
    pub(crate) fn settings(&self) -> PageSettings {
        PageSettings { listener: self.listener.as_raw_fd(), secret: self.secret }
    }
}

impl AsFd for PageOffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
