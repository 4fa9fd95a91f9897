//! Reading messages that travel in frames: control messages, and those about the cluster.

use banyan_wire::frame::{self, FrameError, LENGTH_BYTES};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read};

/// Reads one frame. Never reads beyond it, and allocates no more than a frame may have.
///
/// # Errors
/// The stream's; `InvalidData` for anything that is not a message.
pub(crate) fn read_message<T: Serialize + DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let invalid = |error: FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; frame::body_bytes(length).map_err(invalid)?];
    stream.read_exact(&mut body)?;
    frame::decode(&body).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_wire::control::ControlMessage;

    #[test]
    fn a_stream_that_ends_or_lies_about_its_length_is_an_error() {
        let message = ControlMessage::Notice("a line".into());
        let frame = frame::encode(&message);
        assert_eq!(read_message::<ControlMessage>(&mut &frame[..]).unwrap(), message);
        for cut in 0..frame.len() {
            let error = read_message::<ControlMessage>(&mut &frame[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        let mut long = frame;
        long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = read_message::<ControlMessage>(&mut &long[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
