//! Services of the cluster: what a process and the node of its machine say about them, and two nodes.
//!
//! A program that serves has its node register a name, and is given a stream for each caller; a caller has
//! its node find the name, and is given a stream to the one that serves. The first two travel in packets of
//! the node's local socket, where a stream is a descriptor beside the packet; the third in frames
//! (`crate::frame`) on a connection of [`Purpose::Service`], which is the stream from then on. Not here: what
//! is said on a stream.
//!
//! [`Purpose::Service`]: crate::handshake::Purpose::Service

use crate::frame::{self, FrameError, LENGTH_BYTES};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a packet of the node's local socket begins with that is about a service.
pub const SERVICE: [u8; 8] = *b"BANYAN\x00\x04";
/// The longest packet about a service.
pub const PACKET_MAX: usize = 2048;

/// What a process asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceQuestion {
    /// A stream to the one that serves.
    Reach {
        /// The service.
        name: String,
        /// How long the answer may take, in milliseconds.
        wait_ms: u32,
    },
    /// Streams of callers, until the process closes its socket.
    Serve {
        /// The service.
        name: String,
    },
}

/// What the node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceAnswer {
    /// The stream is beside the packet.
    Stream,
    /// The name is this machine's: callers will come.
    Serves,
    /// Another one serves; callers will come when it does no more.
    Waits {
        /// What the other one's machine is called.
        holder: String,
    },
    /// It cannot be, and why.
    Refused(String),
}

/// What two nodes say before a connection is a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMessage {
    /// A caller wants the service of that name.
    Open(String),
    /// It has it: what follows is the caller's and the service's.
    Opened,
    /// It has not, and why.
    Refused(String),
}

impl ServiceQuestion {
    /// The packet that asks it.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        [&SERVICE, &frame::encode(self)[LENGTH_BYTES..]].concat()
    }

    /// Reads what follows [`SERVICE`] in a packet.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn read(body: &[u8]) -> Result<Self, FrameError> {
        frame::decode(body)
    }
}

impl ServiceAnswer {
    /// The packet that answers it.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        frame::encode(self)[LENGTH_BYTES..].to_vec()
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn read(packet: &[u8]) -> Result<Self, FrameError> {
        frame::decode(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        let name = || String::from("decoder");
        for question in
            [ServiceQuestion::Reach { name: name(), wait_ms: 300 }, ServiceQuestion::Serve { name: name() }]
        {
            let packet = question.packet();
            let body = packet.strip_prefix(&SERVICE).unwrap();
            assert_eq!(ServiceQuestion::read(body), Ok(question));
            assert!(ServiceQuestion::read(&body[..body.len() - 1]).is_err());
        }
        let answers = [
            ServiceAnswer::Stream,
            ServiceAnswer::Serves,
            ServiceAnswer::Waits { holder: name() },
            ServiceAnswer::Refused(name()),
        ];
        for answer in answers {
            assert_eq!(ServiceAnswer::read(&answer.packet()), Ok(answer));
        }
    }
}
