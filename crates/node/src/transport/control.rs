//! Reading control messages from a connection.

use banyan_wire::control::{ControlError, ControlMessage, LENGTH_BYTES};
use std::io::{self, Read};

/// Reads one frame. Never reads beyond it, and allocates no more than a frame may have.
///
/// # Errors
/// The stream's; `InvalidData` for anything that is not a message.
pub(crate) fn read_control(stream: &mut impl Read) -> io::Result<ControlMessage> {
    let invalid = |error: ControlError| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; ControlMessage::body_bytes(length).map_err(invalid)?];
    stream.read_exact(&mut body)?;
    ControlMessage::decode(&body).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_ends_or_lies_about_its_length_is_an_error() {
        let frame = ControlMessage::Notice("a line".into()).encode();
        assert_eq!(read_control(&mut &frame[..]).unwrap(), ControlMessage::Notice("a line".into()));
        for cut in 0..frame.len() {
            let error = read_control(&mut &frame[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        let mut long = frame;
        long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read_control(&mut &long[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
