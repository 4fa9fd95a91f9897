//! Arguments and results as bytes: `postcard`, within bounds.
//!
//! What comes from another process is untrusted: a decoder allocates in proportion to the bytes that came,
//! and returns an error for the rest. Not for where the bytes travel.

use banyan_wire::bounded::{self, ReadError};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The longest value in bytes.
pub const BYTES_MAX: usize = 64 << 20;

/// Elements of no bytes that a value may have.
const EMPTY_ELEMENTS_MAX: u32 = 1 << 20;

/// Why a value has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// It has more bytes than there is room for.
    #[error("longer than the room of {room} bytes")]
    TooLong {
        /// The room.
        room: usize,
    },
    /// Its type refused.
    #[error("not a value that can travel: {0}")]
    Refused(postcard::Error),
}

/// Bytes are no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They end early, nest too deeply, or their type refused them.
    #[error("{0}")]
    Malformed(ReadError),
    /// Bytes are left over.
    #[error("{0} bytes too many")]
    TooMany(usize),
}

fn encode_error(error: postcard::Error, room: usize) -> EncodeError {
    match error {
        postcard::Error::SerializeBufferFull => EncodeError::TooLong { room },
        error => EncodeError::Refused(error),
    }
}

/// Bytes that grow, to a bound.
struct Growing<'a>(&'a mut Vec<u8>);

impl Flavor for Growing<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > BYTES_MAX.saturating_sub(self.0.len()) {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.0.len() >= BYTES_MAX {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends `value` to `to`, which may have [`BYTES_MAX`] bytes.
///
/// # Errors
/// When the value is too long or its type refuses.
pub fn encode<T: Serialize>(value: &T, to: &mut Vec<u8>) -> Result<(), EncodeError> {
    postcard::serialize_with_flavor(value, Growing(to)).map_err(|error| encode_error(error, BYTES_MAX))
}

/// Writes `value` to the front of `to`, without allocating; how long it is.
///
/// # Errors
/// As [`encode`]'s.
pub fn encode_to_slice<T: Serialize>(value: &T, to: &mut [u8]) -> Result<usize, EncodeError> {
    let room = to.len();
    postcard::to_slice(value, to).map(|used| used.len()).map_err(|error| encode_error(error, room))
}

/// The value that `bytes` are.
///
/// # Errors
/// When they are none.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bounded::read(bytes, EMPTY_ELEMENTS_MAX).map_err(DecodeError::Malformed)? {
        (value, []) => Ok(value),
        (_, left) => Err(DecodeError::TooMany(left.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_wire::bounded::DEPTH_MAX;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    enum List {
        End,
        Next(Box<List>),
    }

    fn list(length: u32) -> List {
        (0..length).fold(List::End, |tail, _| List::Next(Box::new(tail)))
    }

    #[test]
    fn values_come_back_whole_or_not_at_all() {
        let value =
            (String::from("text"), vec![1_u64, 1 << 40], Some(-3_i32), std::time::Duration::from_millis(7));
        let mut bytes = Vec::new();
        encode(&value, &mut bytes).unwrap();
        let mut slice = [0; 64];
        let length = encode_to_slice(&value, &mut slice).unwrap();
        assert_eq!(&slice[..length], bytes);
        assert_eq!(decode(&bytes), Ok(value.clone()));
        for end in 0..bytes.len() {
            assert!(
                decode::<(String, Vec<u64>, Option<i32>, std::time::Duration)>(&bytes[..end]).is_err(),
                "{end}"
            );
        }
        bytes.push(0);
        assert_eq!(
            decode::<(String, Vec<u64>, Option<i32>, std::time::Duration)>(&bytes),
            Err(DecodeError::TooMany(1))
        );
        assert_eq!(encode_to_slice(&value, &mut slice[..9]), Err(EncodeError::TooLong { room: 9 }));
    }

    #[test]
    fn nesting_ends_before_the_stack_does() {
        for (length, is_read) in [(DEPTH_MAX - 1, true), (DEPTH_MAX, false), (1 << 20, false)] {
            // As `encode` would write it, which itself nests.
            let mut bytes = vec![1; length as usize];
            bytes.push(0);
            assert_eq!(decode::<List>(&bytes).is_ok(), is_read, "{length}");
        }
        let mut bytes = Vec::new();
        encode(&list(9), &mut bytes).unwrap();
        assert_eq!(decode(&bytes), Ok(list(9)));
    }

    #[test]
    fn counts_of_elements_of_no_bytes_end() {
        let mut bytes = Vec::new();
        encode(&vec![(); 1000], &mut bytes).unwrap();
        assert_eq!(decode(&bytes), Ok(vec![(); 1000]));
        let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(decode::<Vec<()>>(&endless).is_err());
        assert!(decode::<std::collections::BTreeMap<(), ()>>(&endless).is_err());
        assert!(decode::<Vec<u64>>(&endless).is_err());
        assert!(decode::<String>(&endless).is_err());
    }

    #[test]
    fn nothing_is_longer_than_the_bound() {
        let mut bytes = vec![0; BYTES_MAX - 4];
        assert_eq!(encode(&[7_u8; 4], &mut bytes), Ok(()));
        assert_eq!(encode(&7_u8, &mut bytes), Err(EncodeError::TooLong { room: BYTES_MAX }));
    }
}
