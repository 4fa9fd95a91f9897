//! Frames: a little-endian length of four bytes and a body in postcard's format.
//!
//! Control messages and those of the cluster travel in them. Not for sockets: a frame is read and sent in
//! `banyan-node`.

use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the length before each body.
pub const LENGTH_BYTES: usize = 4;
/// A longer body is malformed.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced body is too long.
    #[error("a message of {0} bytes; {BODY_BYTES_MAX} are allowed")]
    Length(u32),
    /// Not the encoding of any message.
    #[error("not a message: {0}")]
    Malformed(postcard::Error),
    /// The bytes mean a message, but are not how this version writes it.
    #[error("a message in another spelling than its only one")]
    Spelling,
}

/// The frame of a message.
///
/// # Panics
/// Never: plain data can be encoded into a growing buffer.
#[must_use]
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut frame =
        postcard::to_extend(message, Vec::from([0; LENGTH_BYTES])).expect("plain data can be encoded");
    let length = (frame.len() - LENGTH_BYTES) as u32;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    frame
}

/// The length of the body that follows these bytes.
///
/// # Errors
/// [`FrameError::Length`].
pub fn body_bytes(length: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(length);
    if length as usize <= BODY_BYTES_MAX { Ok(length as usize) } else { Err(FrameError::Length(length)) }
}

/// Reads a body.
///
/// # Errors
/// [`FrameError`].
pub fn decode<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let message: T = postcard::from_bytes(body).map_err(FrameError::Malformed)?;
    // Postcard reads a number with needless bytes, and leaves bytes after the message unread.
    if encode(&message)[LENGTH_BYTES..] == *body { Ok(message) } else { Err(FrameError::Spelling) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_too_long_is_refused_before_it_is_read() {
        assert_eq!(body_bytes([0, 0, 16, 0]), Ok(BODY_BYTES_MAX));
        assert_eq!(body_bytes([1, 0, 16, 0]), Err(FrameError::Length(BODY_BYTES_MAX as u32 + 1)));
    }

    #[test]
    fn a_number_with_needless_bytes_and_a_byte_too_many_are_refused() {
        assert_eq!(decode::<u32>(&[2]), Ok(2));
        assert_eq!(decode::<u32>(&[0x82, 0]), Err(FrameError::Spelling));
        assert_eq!(decode::<u32>(&[2, 0]), Err(FrameError::Spelling));
    }
}
