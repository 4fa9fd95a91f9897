//! A connection inside TLS 1.3 (rustls): what is sent is sealed, and comes from who it should.
//!
//! One thread sends while another receives, and both need the session, so each locks it for as long as it
//! seals or opens bytes and never while it waits for the socket: two nodes that fill each other's sockets
//! would otherwise wait for each other for ever. Not here: whose certificate is good (`trust`).
//!
//! Lock order: `incoming`, then `session`.

use super::connection::Wait;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are sealed at a time: more makes the session's queue grow and the copying slow.
const SEALED_MAX: usize = 64 << 10;
/// Bytes that are taken from the socket at a time.
const INCOMING_BYTES: usize = 64 << 10;
/// More bytes before the peer has proved who it is are no handshake.
const HANDSHAKE_BYTES_MAX: usize = 16 << 10;

/// A connection inside TLS. Its clones are the same connection.
#[derive(Clone, Debug)]
pub struct Tls {
    stream: Arc<TcpStream>,
    session: Arc<Mutex<rustls::Connection>>,
    incoming: Arc<Mutex<Incoming>>,
}

/// What came from the socket and is not opened yet.
#[derive(Debug)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The socket, as the session writes to it: never waits.
struct Outgoing<'a>(&'a TcpStream);

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::io::retry_on_intr(|| rustix::net::send(self.0, bytes, flags))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Tls {
    /// Shakes hands over a fresh connection, within a time and a number of bytes.
    ///
    /// # Errors
    /// The system's; `InvalidData` with rustls' reason if the peer is not who it should be; `TimedOut`.
    pub(super) fn new(
        stream: TcpStream,
        mut session: rustls::Connection,
        timeout: Duration,
    ) -> io::Result<Self> {
        let deadline = Instant::now() + timeout;
        session.set_buffer_limit(None);
        let mut received = 0;
        let mut buffer = [0; 4096];
        while session.is_handshaking() || session.wants_write() {
            if session.wants_write() {
                match session.write_tls(&mut Outgoing(&stream)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        wait_for(&stream, PollFlags::OUT, Some(deadline))?;
                    }
                    written => drop(written?),
                }
                continue;
            }
            wait_for(&stream, PollFlags::IN, Some(deadline))?;
            let count = receive(&stream, &mut buffer)?;
            received += count;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if received > HANDSHAKE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an endless handshake"));
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                session.read_tls(&mut rest)?;
                if let Err(error) = session.process_new_packets() {
                    // The peer should hear why.
                    let _ = session.write_tls(&mut Outgoing(&stream));
                    return Err(broken(error));
                }
            }
        }
        let incoming = Incoming { bytes: vec![0; INCOMING_BYTES], start: 0, end: 0 };
        Ok(Self {
            stream: Arc::new(stream),
            session: Arc::new(Mutex::new(session)),
            incoming: Arc::new(Mutex::new(incoming)),
        })
    }

    /// The peer's own certificate, DER; `None` if it has shown none.
    pub(super) fn peer_certificate(&self) -> Option<Vec<u8>> {
        let session = self.session.lock();
        session.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.to_vec())
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Takes the first of these bytes. They are on their way when [`Tls::is_flushed`].
    pub(super) fn send(&self, bytes: &[u8], wait: Wait) -> io::Result<usize> {
        loop {
            {
                let mut session = self.session.lock();
                match flush(&mut session, &self.stream) {
                    Ok(()) => {
                        let taken = session.writer().write(&bytes[..bytes.len().min(SEALED_MAX)])?;
                        match flush(&mut session, &self.stream) {
                            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                            _ => return Ok(taken),
                        }
                    }
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    Err(error) if wait == Wait::No => return Err(error),
                    Err(_) => {}
                }
            }
            wait_for(&self.stream, PollFlags::OUT, None)?;
        }
    }

    /// Whether the socket has taken all that was sealed.
    pub(super) fn is_flushed(&self) -> bool {
        !self.session.lock().wants_write()
    }

    /// Waits until the socket has taken all that was sealed.
    pub(super) fn flush(&self) -> io::Result<()> {
        loop {
            match flush(&mut self.session.lock(), &self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                flushed => return flushed,
            }
            wait_for(&self.stream, PollFlags::OUT, None)?;
        }
    }

    /// Receives; waits as long as the socket's timeout says.
    pub(super) fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.lock();
        loop {
            let mut session = self.session.lock();
            match session.reader().read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if incoming.start < incoming.end {
                let mut rest = &incoming.bytes[incoming.start..incoming.end];
                session.read_tls(&mut rest)?;
                incoming.start = incoming.end - rest.len();
                session.process_new_packets().map_err(broken)?;
                continue;
            }
            drop(session);
            let count = receive(&self.stream, &mut incoming.bytes)?;
            (incoming.start, incoming.end) = (0, count);
            if count == 0 {
                // The session says whether the peer had said that it ends.
                self.session.lock().read_tls(&mut io::empty())?;
                let read = self.session.lock().reader().read(bytes);
                return match read {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                    read => read,
                };
            }
        }
    }

    /// Says that the connection ends, and ends it.
    pub(super) fn close(&self) {
        let mut session = self.session.lock();
        session.send_close_notify();
        let _ = flush(&mut session, &self.stream);
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// A plain descriptor of the connection: two threads carry the bytes between it and this one until one
    /// of both ends. For a process that has no TLS of its own, such as a replica.
    pub(super) fn relay(self) -> io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        let (sealed, plain) = (self.clone(), ours.try_clone()?);
        std::thread::Builder::new().name("relay out".into()).spawn(move || {
            let mut buffer = vec![0; INCOMING_BYTES];
            loop {
                let count = match (&plain).read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => count,
                };
                if send_all(&sealed, &buffer[..count]).is_err() {
                    break;
                }
            }
            sealed.close();
            let _ = plain.shutdown(Shutdown::Both);
        })?;
        std::thread::Builder::new().name("relay in".into()).spawn(move || {
            let mut buffer = vec![0; INCOMING_BYTES];
            while let Ok(count @ 1..) = self.read(&mut buffer) {
                if (&ours).write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            self.close();
            let _ = ours.shutdown(Shutdown::Both);
        })?;
        Ok(theirs.into())
    }
}

fn send_all(connection: &Tls, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[connection.send(bytes, Wait::Yes)?..];
    }
    connection.flush()
}

/// Gives the socket what it takes now of what is sealed.
fn flush(session: &mut rustls::Connection, stream: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(&mut Outgoing(stream))?;
    }
    Ok(())
}

fn receive(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    let (count, _) =
        rustix::io::retry_on_intr(|| rustix::net::recv(stream, &mut *bytes, RecvFlags::empty()))?;
    Ok(count)
}

fn wait_for(stream: &TcpStream, what: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(|left| rustix::time::Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    let mut ready = [PollFd::new(stream, what)];
    match rustix::event::poll(&mut ready, left.as_ref()) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
