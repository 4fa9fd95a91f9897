//! Routers over Unix sockets: one thread reads from each peer, one writes to it, so that no host ever waits
//! for a peer.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::frame::{FRAME_MAX, LENGTH_BYTES};
use super::{Exchange, Link, Published, Router, Token};
use crate::durable::identity::random_token;
use crate::model::address::Address;
use crate::sponsors::sponsor::Sponsor;
use crate::system::handle::Handle;

/// Bytes that wait for a peer that does not read; what comes beyond is lost.
const BACKLOG_MAX: usize = 64 << 20;

/// Why a router could not be had.
#[derive(Debug, thiserror::Error)]
pub enum UnixRouterError {
    /// The socket could not be made.
    #[error(
        "{path}: no socket can be made here: {source}; if another process listens there, choose another path"
    )]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No process listens.
    #[error("{path}: nobody listens: {source}; is the other process running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

struct UnixLink {
    frames: Mutex<Sender<Vec<u8>>>,
    backlog: Arc<AtomicUsize>,
    handle: Handle,
}

impl Link for UnixLink {
    fn carry(&self, frame: Vec<u8>) {
        let length = frame.len();
        if self.backlog.fetch_add(length, Ordering::Relaxed) + length > BACKLOG_MAX {
            self.backlog.fetch_sub(length, Ordering::Relaxed);
            self.handle.system.facilities.log("a peer does not read: a message to it is lost".to_owned());
            return;
        }
        // A peer that has gone takes nothing.
        let _ = self.frames.lock().send(frame);
    }
}

struct Peer {
    stream: UnixStream,
    exchange: Arc<Exchange>,
    reader: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

/// Joins this process's configurations with those of others, over a Unix socket.
pub struct UnixRouter {
    published: Published,
    peers: Arc<Mutex<Vec<Peer>>>,
    listening: Option<(PathBuf, JoinHandle<()>)>,
}

impl UnixRouter {
    /// Listens for peers.
    ///
    /// # Errors
    /// [`UnixRouterError::Listen`].
    pub fn listen(handle: &Handle, path: &Path) -> Result<Self, UnixRouterError> {
        let failed = |source| UnixRouterError::Listen { path: path.to_owned(), source };
        let listener = UnixListener::bind(path).map_err(failed)?;
        let (published, peers) = (Published::default(), Arc::new(Mutex::new(Vec::new())));
        let (theirs, known, given) = (peers.clone(), published.clone(), handle.clone());
        let accept = move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut peers = theirs.lock();
                // The listener's own connection ends the loop: see `drop`.
                if given.system.closing.load(Ordering::SeqCst) || Arc::strong_count(&theirs) == 1 {
                    return;
                }
                if let Ok(peer) = join(stream, &given, None, known.clone()) {
                    peers.push(peer);
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("banyan-router".to_owned()).spawn(accept).map_err(failed)?;
        Ok(Self { published, peers, listening: Some((path.to_owned(), thread)) })
    }

    /// Joins the process that listens there; `sponsor` pays for what comes from it.
    ///
    /// # Errors
    /// [`UnixRouterError::Connect`].
    pub fn connect(handle: &Handle, path: &Path, sponsor: Option<Sponsor>) -> Result<Self, UnixRouterError> {
        let failed = |source| UnixRouterError::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(failed)?;
        let published = Published::default();
        let peer = join(stream, handle, sponsor, published.clone()).map_err(failed)?;
        Ok(Self { published, peers: Arc::new(Mutex::new(vec![peer])), listening: None })
    }

    /// Whether any peer is still there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let peers = self.peers.lock();
        peers.iter().any(|peer| peer.reader.as_ref().is_some_and(|thread| !thread.is_finished()))
    }

    /// Tokens that peers hold, and proxies of their actors here.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let peers = self.peers.lock();
        let counts = peers.iter().map(|peer| peer.exchange.counts());
        counts.fold((0, 0), |(all, every), (exports, imports)| (all + exports, every + imports))
    }
}

impl Router for UnixRouter {
    fn publish(&self, actor: &Address) -> Token {
        let token = random_token();
        self.published.lock().insert(token, actor.clone());
        token
    }

    /// For the process that was connected to: one that listens learns of its peers' actors from messages.
    fn import(&self, token: Token) -> Address {
        let peers = self.peers.lock();
        match peers.first() {
            Some(peer) => peer.exchange.import(token),
            None => Address::nowhere(),
        }
    }
}

impl Drop for UnixRouter {
    fn drop(&mut self) {
        let peers = std::mem::take(&mut *self.peers.lock());
        // From here on the accepting thread holds the only other reference, and ends at its next connection.
        self.peers = Arc::default();
        if let Some((path, thread)) = self.listening.take() {
            if UnixStream::connect(&path).is_ok() {
                // It returns: it has nothing left to do.
                let _ = thread.join();
            }
            // If it was removed already, that is what we want.
            let _ = std::fs::remove_file(path);
        }
        for mut peer in peers {
            // Both threads end: one reads the end of the stream, the other's channel or stream closes.
            let _ = peer.stream.shutdown(std::net::Shutdown::Both);
            let (reader, writer) = (peer.reader.take(), peer.writer.take());
            drop(peer.exchange);
            reader.into_iter().for_each(|thread| drop(thread.join()));
            writer.into_iter().for_each(|thread| drop(thread.join()));
        }
    }
}

fn join(stream: UnixStream, handle: &Handle, sponsor: Option<Sponsor>, known: Published) -> io::Result<Peer> {
    let (frames, outgoing) = channel();
    let backlog = Arc::new(AtomicUsize::new(0));
    let link = UnixLink { frames: Mutex::new(frames), backlog: backlog.clone(), handle: handle.clone() };
    let exchange = Exchange::with_published(handle.clone(), Box::new(link), sponsor, known);
    let writing = stream.try_clone()?;
    let reading = stream.try_clone()?;
    let builder = || std::thread::Builder::new().name("banyan-peer".to_owned());
    let writer = builder().spawn(move || write(writing, &outgoing, &backlog))?;
    let (taking, log) = (Arc::downgrade(&exchange), handle.clone());
    let reader = builder().spawn(move || {
        let mut stream = BufReader::new(reading);
        let mut frame = Vec::new();
        while let Ok(true) = read_frame(&mut stream, &mut frame) {
            let Some(exchange) = taking.upgrade() else { return };
            let taken = exchange.take(&frame);
            log.system.log_notes();
            if let Err(error) = taken {
                log.system.facilities.log(format!("a peer is not listened to any more: {error}"));
                // It learns that by the end of the stream.
                let _ = stream.get_ref().shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    })?;
    Ok(Peer { stream, exchange, reader: Some(reader), writer: Some(writer) })
}

/// Whether there was a frame, and not the end of the stream.
fn read_frame(stream: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; LENGTH_BYTES];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(io::Error::other("a frame that is too long"));
    }
    frame.resize(length, 0);
    stream.read_exact(frame)?;
    Ok(true)
}

fn write(mut stream: UnixStream, outgoing: &Receiver<Vec<u8>>, backlog: &AtomicUsize) {
    while let Ok(mut frames) = outgoing.recv() {
        // What waits already goes in one piece.
        while frames.len() < FRAME_MAX
            && let Ok(more) = outgoing.try_recv()
        {
            frames.extend_from_slice(&more);
        }
        backlog.fetch_sub(frames.len(), Ordering::Relaxed);
        if stream.write_all(&frames).is_err() {
            return;
        }
    }
}
