//! The first bytes on every connection between nodes: who speaks, to which run it belongs, and what the connection
//! is for. The side that dials sends a [`Hello`]; the side that accepts answers with its own.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "BANYAN" and two bytes that no text has.
pub const MAGIC: [u8; 8] = *b"BANYAN\xff\x00";
/// Version of everything that nodes say to each other. Nodes of different versions do not talk.
pub const VERSION: u32 = 2;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Coherence messages that a thread waits for.
    Urgent = 1,
    /// Coherence messages with long runs.
    Bulk = 2,
    /// Everything that is not about pages: regions, ends, statistics.
    Control = 3,
    /// One thread: its deputy and its carrier.
    Deputy = 4,
}

/// Who speaks and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// A [`Purpose`].
    pub purpose: u32,
    /// The run's secret: only processes that were started for it know it.
    pub run: [u8; 16],
    /// Number of the speaking node.
    pub node: u32,
    /// For [`Purpose::Deputy`]: the thread's id at home. Otherwise 0.
    pub thread: u32,
}

/// Bytes of a [`Hello`].
pub const HELLO_BYTES: usize = size_of::<Hello>();
const _: () = assert!(HELLO_BYTES == 40);

/// Why a connection is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not one of ours.
    #[error("the first bytes are not a greeting of a Banyan node")]
    Magic,
    /// Another version.
    #[error("the peer speaks version {0}, this node {VERSION}; use the same build on all nodes")]
    Version(u32),
    /// Another run, or a stranger.
    #[error("the peer does not know this run's secret")]
    Run,
    /// A node number that is not of this run, or this node's own.
    #[error("the peer says that it is node {0}, which is not one of this run's others")]
    Node(u32),
    /// A purpose that does not exist.
    #[error("unknown purpose {0}")]
    Purpose(u32),
}

impl Hello {
    /// A greeting.
    #[must_use]
    pub const fn new(purpose: Purpose, run: [u8; 16], node: u8, thread: u32) -> Self {
        Self { magic: MAGIC, version: VERSION, purpose: purpose as u32, run, node: node as u32, thread }
    }

    /// Checks a greeting that came in at node `own` of a run with `nodes` nodes.
    ///
    /// # Errors
    /// [`HelloError`].
    pub fn check(&self, run: &[u8; 16], own: u8, nodes: u8) -> Result<Purpose, HelloError> {
        if self.magic != MAGIC {
            return Err(HelloError::Magic);
        }
        if self.version != VERSION {
            return Err(HelloError::Version(self.version));
        }
        // Compared without an early end, so that the time tells nothing about the secret.
        let difference = self.run.iter().zip(run).fold(0, |sum, (a, b)| sum | (a ^ b));
        if difference != 0 {
            return Err(HelloError::Run);
        }
        if self.node >= u32::from(nodes) || self.node == u32::from(own) {
            return Err(HelloError::Node(self.node));
        }
        match self.purpose {
            1 => Ok(Purpose::Urgent),
            2 => Ok(Purpose::Bulk),
            3 => Ok(Purpose::Control),
            4 => Ok(Purpose::Deputy),
            other => Err(HelloError::Purpose(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_of_a_greeting_is_noticed() {
        let hello = Hello::new(Purpose::Urgent, [7; 16], 2, 0);
        assert_eq!(hello.check(&[7; 16], 0, 3), Ok(Purpose::Urgent));
        for at in 0..32 {
            let mut bytes = [0; HELLO_BYTES];
            bytes.copy_from_slice(hello.as_bytes());
            bytes[at] ^= 0x80;
            let Ok(damaged) = Hello::read_from_bytes(&bytes) else { panic!("the size is right") };
            assert!(damaged.check(&[7; 16], 0, 3).is_err(), "byte {at}");
        }
        assert_eq!(hello.check(&[7; 16], 2, 3), Err(HelloError::Node(2)));
    }
}
