//! A connection to another node: bytes in order, each way, until it ends.
//!
//! Everything outside of `transport` sees a connection only as this type, so that what carries the bytes can
//! be another thing tomorrow. An enum and not a trait: there are two or three kinds, and the way of a page
//! fault goes through here. Not here: who may connect (`greeting`), and what is sent (`lane`).

#[cfg(test)]
use super::faulty::Faulty;
use super::tls::Tls;
use crate::sys::descriptors;
use rustix::net::{SendFlags, sockopt};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Bytes that the other side has not acknowledged for this long end the connection.
const PEER_TIMEOUT: Duration = Duration::from_secs(4);

/// Whether to wait for room in a connection that takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Send what it takes at once; nothing is an error, `WouldBlock`.
    No,
    /// Wait until it takes something.
    Yes,
}

/// A connection to another node.
#[derive(Debug)]
pub enum Connection {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TCP with TLS in it.
    Tls(Tls),
    /// Another connection with faults on its sending side.
    #[cfg(test)]
    Faulty(Faulty),
}

impl Connection {
    /// Connects to `address`.
    ///
    /// # Errors
    /// The system's.
    pub fn dial(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        set_options(&stream)?;
        Ok(Self::Tcp(stream))
    }

    /// Waits for the next connection that another node makes.
    ///
    /// # Errors
    /// The system's.
    pub fn accept(listener: &TcpListener) -> io::Result<(Self, SocketAddr)> {
        let (stream, address) = listener.accept()?;
        set_options(&stream)?;
        Ok((Self::Tcp(stream), address))
    }

    /// Sends the first of these bytes, as many as it takes. A peer that has gone is an error and not a
    /// signal.
    ///
    /// # Errors
    /// The system's.
    #[inline]
    pub fn send(&self, bytes: &[u8], wait: Wait) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => {
                let flags = match wait {
                    Wait::No => SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
                    Wait::Yes => SendFlags::NOSIGNAL,
                };
                Ok(rustix::io::retry_on_intr(|| rustix::net::send(stream, bytes, flags))?)
            }
            Self::Tls(tls) => tls.send(bytes, wait),
            #[cfg(test)]
            Self::Faulty(faulty) => faulty.send(bytes),
        }
    }

    /// The shortest time in which bytes were acknowledged lately.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        descriptors::round_trip(self.as_fd()).ok().flatten()
    }

    /// Whether all that was taken is on its way. What is not is sent with what comes next, or by
    /// [`Connection::flush`].
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.is_flushed(),
            _ => true,
        }
    }

    /// Waits until all that was taken is on its way.
    ///
    /// # Errors
    /// The system's.
    pub fn flush(&self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.flush(),
            _ => Ok(()),
        }
    }

    /// The stream of a connection that nothing is in yet.
    ///
    /// # Errors
    /// `Unsupported` for one that something is in.
    pub(super) fn into_tcp(self) -> io::Result<TcpStream> {
        match self {
            Self::Tcp(stream) => Ok(stream),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Another handle of the same connection.
    ///
    /// # Errors
    /// The system's.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Tls(tls) => Ok(Self::Tls(tls.clone())),
            #[cfg(test)]
            Self::Faulty(faulty) => faulty.try_clone().map(Self::Faulty),
        }
    }

    /// Ends the connection, whatever handles it has; both sides see the end of the stream.
    pub fn close(&self) {
        // It may have ended already.
        match self {
            Self::Tcp(stream) => drop(stream.shutdown(Shutdown::Both)),
            Self::Tls(tls) => tls.close(),
            #[cfg(test)]
            Self::Faulty(faulty) => faulty.close(),
        }
    }

    /// A plain descriptor of the connection, to be handed to a replica. What is more than its descriptor is
    /// relayed.
    ///
    /// # Errors
    /// The system's.
    pub fn into_descriptor(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => Ok(stream.into()),
            Self::Tls(tls) => tls.relay(),
            #[cfg(test)]
            Self::Faulty(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// How long a read waits; for ever without a time.
    ///
    /// # Errors
    /// The system's.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Tls(tls) => tls.stream().set_read_timeout(timeout),
            #[cfg(test)]
            Self::Faulty(faulty) => faulty.inner().set_read_timeout(timeout),
        }
    }

    /// Sends bursts as they come. Pacing (BBR) spreads them over time, which helps on the Internet and costs
    /// the nodes of a cluster their speed.
    pub fn prefer_bursts(&self) {
        // Another congestion control is slower, and no less right.
        let _ = sockopt::set_tcp_congestion(self, "reno");
    }
}

impl Read for &Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => (&*stream).read(bytes),
            Connection::Tls(tls) => tls.read(bytes),
            #[cfg(test)]
            Connection::Faulty(faulty) => faulty.inner().read(bytes),
        }
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, Wait::Yes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Connection::flush(self)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(tls) => tls.stream().as_fd(),
            #[cfg(test)]
            Self::Faulty(faulty) => faulty.inner().as_fd(),
        }
    }
}

/// No message waits for more to fill a segment, and a peer that a broken network hides is lost within seconds
/// (tcp(7)).
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, PEER_TIMEOUT.as_millis() as u32)?;
    Ok(())
}
