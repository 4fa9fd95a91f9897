//! Frames of calls over a stream: a header of checked lengths, and a body, compressed when it pays.
//!
//! Every read and write has a deadline for the whole frame, so that a peer that sends a byte now
//! and then delays no other. A body grows as its bytes arrive: a header that lies costs its sender
//! more than us. Not for what a body means; that is `message`. See `docs/formats/call-stream.md`.

use super::socket::Socket;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Longest body in bytes, compressed or not.
pub const BODY_MAX: usize = 80 << 20;
/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 16;
const MAGIC: u16 = 0xca11;
const COMPRESSED: u8 = 1;
/// Shorter bodies are never compressed.
const COMPRESS_FROM: usize = 1024;
/// LZ4 cannot shrink anything further than this.
const RATIO_MAX: usize = 255;

/// Why a stream can be used no longer.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer closed it between two frames.
    #[error("the peer has closed the connection")]
    Closed,
    /// The time for the frame is over.
    #[error("the peer is too slow")]
    Slow,
    /// The bytes are no frame of ours.
    #[error("the peer sent what is no frame: {0}")]
    Garbage(&'static str),
    /// The system's.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Slow,
            _ => Self::Io(error),
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is; see `message`.
    pub kind: u8,
    /// Whether the body is compressed.
    pub compressed: bool,
    /// Bytes of the body as it travels.
    pub length: usize,
    /// Bytes of the body as it is meant.
    pub meant: usize,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[2] = self.kind;
        bytes[3] = if self.compressed { COMPRESSED } else { 0 };
        bytes[4..8].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.meant as u32).to_le_bytes());
        bytes
    }

    /// Takes a header apart.
    ///
    /// # Errors
    /// [`StreamError::Garbage`] saying what is wrong.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, StreamError> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let garbage = |what| Err(StreamError::Garbage(what));
        if bytes[..2] != MAGIC.to_le_bytes() {
            return garbage("a wrong first word");
        }
        if bytes[3] > COMPRESSED || number(12) != 0 {
            return garbage("unknown flags");
        }
        let header = Self {
            kind: bytes[2],
            compressed: bytes[3] == COMPRESSED,
            length: number(4) as usize,
            meant: number(8) as usize,
        };
        if header.length > BODY_MAX || header.meant > BODY_MAX {
            return garbage("a body that is too long");
        }
        let fits = if header.compressed {
            header.meant > header.length && header.meant / RATIO_MAX <= header.length
        } else {
            header.meant == header.length
        };
        if fits { Ok(header) } else { garbage("lengths that contradict each other") }
    }

    /// The body as it is meant.
    ///
    /// # Errors
    /// [`StreamError::Garbage`] when it does not decompress to the length announced.
    pub fn open(&self, body: Vec<u8>) -> Result<Vec<u8>, StreamError> {
        if !self.compressed {
            return Ok(body);
        }
        let opened = lz4_flex::block::decompress(&body, self.meant)
            .map_err(|_| StreamError::Garbage("a body that does not decompress"))?;
        if opened.len() == self.meant {
            Ok(opened)
        } else {
            Err(StreamError::Garbage("a body of another length"))
        }
    }
}

/// Decides whether compressing pays, from what sending and compressing have cost so far.
#[derive(Debug)]
pub(super) struct Compressor {
    /// Nanoseconds a byte that sending takes.
    send: f64,
    /// Nanoseconds a byte that compressing takes.
    compress: f64,
    /// Compressed bytes a byte.
    ratio: f64,
    skipped: u32,
}

/// Frames between two trials of what did not pay.
const TRY_AGAIN: u32 = 32;

impl Default for Compressor {
    fn default() -> Self {
        // Until it is known better: a gigabit a second, and text.
        Self { send: 8.0, compress: 1.5, ratio: 0.5, skipped: 0 }
    }
}

impl Compressor {
    fn pays(&mut self, length: usize) -> bool {
        if length < COMPRESS_FROM {
            return false;
        }
        let pays = self.compress + self.ratio * self.send < self.send;
        self.skipped = if pays { 0 } else { self.skipped + 1 };
        pays || self.skipped.is_multiple_of(TRY_AGAIN)
    }

    fn learn(value: &mut f64, new: f64) {
        *value += (new - *value) / 4.0;
    }
}

/// A stream of frames.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    compressor: Compressor,
    /// Bytes that went out, headers included.
    pub sent: u64,
    /// Bytes that came in.
    pub received: u64,
}

impl Stream {
    /// A stream over a connected socket.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: impl Into<Socket>) -> io::Result<Self> {
        let socket = socket.into();
        socket.set_nodelay()?;
        Ok(Self { socket, compressor: Compressor::default(), sent: 0, received: 0 })
    }

    /// The socket below.
    #[must_use]
    pub const fn socket(&self) -> &Socket {
        &self.socket
    }

    fn left(by: Instant) -> Result<Duration, StreamError> {
        by.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(StreamError::Slow)
    }

    fn write_by(&mut self, mut bytes: &[u8], by: Instant) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            self.socket.set_write_timeout(Self::left(by)?)?;
            match (&self.socket).write(bytes) {
                Ok(0) => return Err(StreamError::Closed),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.sent += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_by(&mut self, bytes: &mut [u8], by: Instant) -> Result<(), StreamError> {
        let mut done = 0;
        while done < bytes.len() {
            self.socket.set_read_timeout(Self::left(by)?)?;
            match (&self.socket).read(&mut bytes[done..]) {
                Ok(0) if done == 0 => return Err(StreamError::Closed),
                Ok(0) => return Err(StreamError::Garbage("the end in the middle of a frame")),
                Ok(count) => {
                    done += count;
                    self.received += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Any [`StreamError`]; the stream can be used no longer then.
    pub fn send(&mut self, kind: u8, body: &[u8], by: Instant) -> Result<(), StreamError> {
        if body.len() > BODY_MAX {
            return Err(StreamError::Garbage("a body that is too long"));
        }
        let mut packed = Vec::new();
        if self.compressor.pays(body.len()) {
            let start = Instant::now();
            packed = lz4_flex::block::compress(body);
            let time_ns = start.elapsed().as_nanos() as f64;
            Compressor::learn(&mut self.compressor.compress, time_ns / body.len() as f64);
            Compressor::learn(&mut self.compressor.ratio, packed.len() as f64 / body.len() as f64);
        }
        let compressed = !packed.is_empty() && packed.len() < body.len();
        let travels = if compressed { &packed[..] } else { body };
        let header = Header { kind, compressed, length: travels.len(), meant: body.len() };
        // One write for small frames, so that they are one packet.
        let mut bytes = Vec::with_capacity(HEADER_BYTES + travels.len().min(COMPRESS_FROM));
        bytes.extend(header.encode());
        let start = Instant::now();
        if travels.len() <= COMPRESS_FROM {
            bytes.extend(travels);
            return self.write_by(&bytes, by);
        }
        self.write_by(&bytes, by)?;
        self.write_by(travels, by)?;
        // What fits the socket's buffer says nothing of the link.
        if travels.len() >= 256 << 10 {
            let time_ns = start.elapsed().as_nanos() as f64;
            Compressor::learn(&mut self.compressor.send, time_ns / travels.len() as f64);
        }
        Ok(())
    }

    /// Receives a frame: its kind and its body. Waits `idle` for its first byte, and then `rest`
    /// for all of it.
    ///
    /// # Errors
    /// Any [`StreamError`]; the stream can be used no longer then.
    pub fn receive(&mut self, idle: Instant, rest: Duration) -> Result<(u8, Vec<u8>), StreamError> {
        const STEP: usize = 256 << 10;
        let mut bytes = [0; HEADER_BYTES];
        self.read_by(&mut bytes[..1], idle)?;
        let by = idle.min(Instant::now() + rest).max(Instant::now() + Duration::from_millis(1));
        self.read_by(&mut bytes[1..], by).map_err(|error| match error {
            StreamError::Closed => StreamError::Garbage("the end in the middle of a frame"),
            error => error,
        })?;
        let header = Header::decode(&bytes)?;
        let mut body = Vec::new();
        while body.len() < header.length {
            let start = body.len();
            body.resize(header.length.min(start + STEP), 0);
            let part = &mut body[start..];
            self.read_by(part, by).map_err(|error| match error {
                StreamError::Closed => StreamError::Garbage("the end in the middle of a frame"),
                error => error,
            })?;
        }
        Ok((header.kind, header.open(body)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_lies_are_refused() {
        let good = Header { kind: 3, compressed: true, length: 100, meant: 2000 };
        assert_eq!(Header::decode(&good.encode()).unwrap(), good);
        for bad in [
            Header { length: BODY_MAX + 1, meant: BODY_MAX + 1, compressed: false, ..good },
            Header { meant: 101 * 255, ..Header { length: 1, ..good } },
            Header { meant: 99, ..good },
            Header { compressed: false, ..good },
        ] {
            assert!(Header::decode(&bad.encode()).is_err(), "{bad:?}");
        }
        let mut bytes = good.encode();
        bytes[0] ^= 1;
        assert!(Header::decode(&bytes).is_err());
        assert!(good.open(vec![0xff; 100]).is_err());
    }

    #[test]
    fn compression_pays_on_slow_links_and_for_what_shrinks() {
        let mut slow = Compressor { send: 80.0, compress: 2.0, ratio: 0.6, skipped: 0 };
        assert!(slow.pays(10_000) && !slow.pays(100));
        let mut fast = Compressor { send: 0.4, ..slow };
        let tried = (0..320).filter(|_| fast.pays(10_000)).count();
        assert_eq!(tried, 10, "tried again now and then only");
        let mut noise = Compressor { send: 80.0, ratio: 1.0, compress: 2.0, skipped: 0 };
        assert!(!noise.pays(10_000));
    }
}
