//! What daemons of one run tell each other beside pages: regions, ends, statistics. On the control lane, as frames of a
//! little-endian length and a postcard body.

use crate::observe::statistics::NodeStatistics;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// A longer body is malformed.
const BODY_MAX: u32 = 1 << 20;

/// A stretch of the program's memory with its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFacts {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// `PROT_` bits.
    pub protection: u32,
}

/// A message between daemons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ControlMessage {
    /// To home: the replica is ready for threads.
    ReplicaReady,
    /// To home: is there a region at this address that allows this?
    Lookup {
        /// Comes back in the answer.
        id: u64,
        /// Any address in it.
        address: u64,
        /// The `PROT_` bit needed.
        access: u32,
    },
    /// From home.
    LookedUp {
        /// As asked.
        id: u64,
        /// The region, if there is one that allows it.
        region: Option<RegionFacts>,
    },
    /// From home: unmap this range in the replica.
    Forget {
        /// Comes back in the answer.
        id: u64,
        /// First byte.
        start: u64,
        /// Bytes.
        length: u64,
    },
    /// To home: it is unmapped.
    Forgotten {
        /// As asked.
        id: u64,
    },
    /// To home: a line for the person.
    Notice(
        /// Without a newline.
        String,
    ),
    /// To home: the replica has ended although the program had not.
    ReplicaLost(
        /// How.
        String,
    ),
    /// From home: the program has ended. Kill the replica, count, answer, and end.
    End,
    /// To home: the last message of a node.
    Ended(
        /// What it did.
        NodeStatistics,
    ),
}

impl ControlMessage {
    /// Its frame.
    ///
    /// # Panics
    /// Never: every variant can be encoded into a growing buffer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).expect("plain data can be encoded");
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend(body);
        frame
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// The stream's; `InvalidData` for anything that is not a message.
    pub fn read(stream: &mut impl Read) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > BODY_MAX {
            return Err(invalid(format!("a control message of {length} bytes, {BODY_MAX} are allowed")));
        }
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body)?;
        let (message, rest) = postcard::take_from_bytes(&body)
            .map_err(|error| invalid(format!("not a control message: {error}")))?;
        if rest.is_empty() { Ok(message) } else { Err(invalid("bytes follow a control message".into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_damage_is_an_error() {
        let message = ControlMessage::LookedUp {
            id: 7,
            region: Some(RegionFacts { start: 4096, end: 8192, protection: 3 }),
        };
        let frame = message.encode();
        assert_eq!(ControlMessage::read(&mut &frame[..]).unwrap(), message);
        for cut in 0..frame.len() {
            assert!(ControlMessage::read(&mut &frame[..cut]).is_err());
        }
        let mut long = frame;
        long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(ControlMessage::read(&mut &long[..]).is_err());
    }
}
