//! From a message to bytes and back. A message has one spelling: what was decoded, encoded again, gives the
//! same bytes.

use super::contents::{Contents, bitmap_bytes, contents_bytes};
use super::directory::{self, ENTRY_BYTES};
use super::error::DecodeError;
use super::fields::{HEADER_BYTES, RawHeader};
use super::message::Message;
use super::table::Payload;
use super::{MAGIC, VERSION};
use crate::ids::{PageNumber, Run};
use core::fmt;

/// The header of a message of this process. `contents_bytes` is the length of the payload of a grant with
/// contents (see [`contents_bytes`]) and is ignored for every other message.
#[must_use]
pub fn encode_header(process: u32, message: &Message, contents_bytes: u32) -> [u8; HEADER_BYTES] {
    zerocopy::transmute!(raw_header(process, message, contents_bytes))
}

fn raw_header(process: u32, message: &Message, contents_bytes: u32) -> RawHeader {
    let mut raw = RawHeader::new(process);
    message.write(&mut raw);
    raw.payload = match message.payload() {
        Payload::Contents if raw.has_contents() => contents_bytes,
        Payload::Entries => u32::from(raw.count.get()) * ENTRY_BYTES as u32,
        Payload::None | Payload::Contents => 0,
    }
    .into();
    raw
}

/// A header that has been read and checked; its payload may still have to arrive.
#[derive(Clone, Copy)]
pub struct Header {
    raw: RawHeader,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("process", &self.process())
            .field("message", &Message::read(&self.raw))
            .field("payload_bytes", &self.payload_bytes())
            .finish()
    }
}

impl Header {
    /// Reads and checks a header. After this only the payload can still be wrong.
    ///
    /// # Errors
    /// When the bytes are not a header that this version can have written.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, DecodeError> {
        let raw: RawHeader = zerocopy::transmute!(*bytes);
        if raw.magic != MAGIC {
            return Err(DecodeError::Magic(raw.magic));
        }
        if raw.version != VERSION {
            return Err(DecodeError::Version(raw.version));
        }
        let message = Message::read(&raw)?;
        let found = raw.payload.get();
        let (least, most) = match message.payload() {
            Payload::Contents if raw.has_contents() => {
                let pages = u32::from(raw.count.get());
                (bitmap_bytes(pages) as u32, contents_bytes(pages, pages))
            }
            Payload::Entries => {
                let bytes = u32::from(raw.count.get()) * ENTRY_BYTES as u32;
                (bytes, bytes)
            }
            Payload::None | Payload::Contents => (0, 0),
        };
        if !(least..=most).contains(&found) {
            return Err(DecodeError::Payload { found: found.into(), expected: most.into() });
        }
        // Encoding what was understood must give the same bytes: no unused field can smuggle anything.
        let mut again = raw_header(raw.process.get(), &message, found);
        if message.payload() == Payload::Entries {
            // The entries are not here yet; their number has just been checked.
            again.count = raw.count;
            again.payload = raw.payload;
        }
        if again == raw { Ok(Self { raw }) } else { Err(DecodeError::Unused) }
    }

    /// The process whose memory it is about.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.raw.process.get()
    }

    /// How many bytes follow; never more than [`PAYLOAD_BYTES_MAX`](super::PAYLOAD_BYTES_MAX).
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.raw.payload.get() as usize
    }

    /// The pages whose contents the payload carries, if it carries pages.
    #[must_use]
    pub fn contents(&self) -> Option<Run> {
        self.raw
            .has_contents()
            .then(|| Run { first: PageNumber(self.raw.first.get()), count: u32::from(self.raw.count.get()) })
    }

    /// The message, once its payload is here.
    ///
    /// # Errors
    /// When the payload has not the announced length, or does not fit the message.
    pub fn message(&self, payload: &[u8]) -> Result<Message, DecodeError> {
        if payload.len() != self.payload_bytes() {
            return Err(DecodeError::Payload {
                found: payload.len() as u64,
                expected: self.payload_bytes() as u64,
            });
        }
        let mut message = Message::read(&self.raw)?;
        match message.payload() {
            Payload::None => {}
            Payload::Contents => {
                if let Some(run) = self.contents() {
                    Contents::new(run, payload)?;
                }
            }
            Payload::Entries => directory::decode_payload(&mut message, payload)?,
        }
        Ok(message)
    }
}

/// Decodes a whole frame: header, then exactly its payload.
///
/// # Errors
/// When it is anything else.
pub fn decode(frame: &[u8]) -> Result<(Header, Message), DecodeError> {
    let (header, payload) = frame.split_first_chunk().ok_or(DecodeError::Short(frame.len()))?;
    let header = Header::decode(header)?;
    let message = header.message(payload)?;
    Ok((header, message))
}
