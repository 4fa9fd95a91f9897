//! The messages by which nodes keep one process's memory coherent, and their bytes.
//!
//! A message is a header of [`HEADER_BYTES`] bytes, then `payload` bytes. Two kinds have a payload: a
//! [`Message::Grant`] with contents carries pages, and a [`Message::Adopt`] carries an extent's directory.
//! Decoding believes nothing: every length, number, tag and reserved byte is checked, and what fails is an
//! error that says why. What a message *means*, and whether it may be sent now, is decided in `banyan-core`;
//! how it travels, in `banyan-node`.
//!
//! A new message is a row in `message` and, if it has a field of a new name, that name in `fields`; then its
//! row in the format's document and its handler in `banyan-core`.

mod codec;
mod contents;
mod directory;
mod error;
mod fields;
mod message;
mod table;
#[cfg(all(test, feature = "control"))]
mod tests;

pub use codec::{Header, decode, encode_header};
pub use contents::{Contents, PAYLOAD_BYTES_MAX, bitmap_bytes, contents_bytes};
pub use directory::{Directory, DirectoryEntry, Holders, encode_payload};
pub use error::DecodeError;
pub use fields::HEADER_BYTES;
pub use message::Message;

/// The version of this format. Nodes of different versions do not talk.
pub const VERSION: u8 = 2;
/// The most extents of one sweep: their pages can be counted in 32 bits.
pub const SWEEP_EXTENTS_MAX: u64 = 1 << 22;
const MAGIC: [u8; 2] = *b"Bc";
