//! The first bytes on every connection between nodes: who speaks, to which job it belongs, and what the
//! connection is for. The side that dials sends a [`Hello`]; the side that accepts answers with its own.

use crate::ids::JobId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "BANYAN" and two bytes that no text has.
pub const MAGIC: [u8; 8] = *b"BANYAN\xff\x00";
/// Version of everything that nodes say to each other. Nodes of different versions do not talk.
pub const VERSION: u32 = 12;

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
    /// Home asks a node to take part in a job, and the node answers.
    Job = 5,
    /// Machines of a cluster, or one that wants to be, talk about the cluster.
    Cluster = 6,
    /// A node reads another one's tables.
    Tables = 7,
    /// Members of the cluster agree on what it is.
    Company = 8,
    /// A caller on one machine and a service on another.
    Service = 9,
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
    /// The nodes' secret: no other process knows it.
    pub secret: [u8; 16],
    /// A [`JobId`].
    pub job: u32,
    /// Number of the speaking node in the job.
    pub node: u32,
    /// For [`Purpose::Deputy`]: the thread's id at home. Otherwise 0.
    pub thread: u32,
}

/// Bytes of a [`Hello`].
pub const HELLO_BYTES: usize = size_of::<Hello>();
const _: () = assert!(HELLO_BYTES == 44);

/// Why a connection is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not one of ours.
    #[error("the first bytes are not a greeting of a Banyan node")]
    Magic,
    /// Another version.
    #[error("the peer speaks version {0}, this node {VERSION}; use the same build on all nodes")]
    Version(u32),
    /// A stranger.
    #[error("the peer does not know the secret of this node")]
    Secret,
    /// A job that has ended, or was never here.
    #[error("{0} is not on this node")]
    Job(JobId),
    /// A node number that is not of this run, or this node's own.
    #[error("the peer says that it is node {0}, which is not one of this job's others")]
    Node(u32),
    /// A purpose that does not exist.
    #[error("unknown purpose {0}")]
    Purpose(u32),
}

impl Hello {
    /// A greeting.
    #[must_use]
    pub const fn new(purpose: Purpose, secret: [u8; 16], job: JobId, node: u8, thread: u32) -> Self {
        let (purpose, job, node) = (purpose as u32, job.0, node as u32);
        Self { magic: MAGIC, version: VERSION, purpose, secret, job, node, thread }
    }

    /// Checks that a greeting comes from one of the nodes. Which job it is for is in its fields.
    ///
    /// # Errors
    /// [`HelloError`].
    pub fn check_secret(&self, secret: &[u8; 16]) -> Result<Purpose, HelloError> {
        if self.magic != MAGIC {
            return Err(HelloError::Magic);
        }
        if self.version != VERSION {
            return Err(HelloError::Version(self.version));
        }
        // Compared without an early end, so that the time tells nothing about the secret.
        let difference = self.secret.iter().zip(secret).fold(0, |sum, (a, b)| sum | (a ^ b));
        if difference != 0 {
            return Err(HelloError::Secret);
        }
        match self.purpose {
            1 => Ok(Purpose::Urgent),
            2 => Ok(Purpose::Bulk),
            3 => Ok(Purpose::Control),
            4 => Ok(Purpose::Deputy),
            5 => Ok(Purpose::Job),
            6 => Ok(Purpose::Cluster),
            7 => Ok(Purpose::Tables),
            8 => Ok(Purpose::Company),
            9 => Ok(Purpose::Service),
            other => Err(HelloError::Purpose(other)),
        }
    }

    /// Checks that a greeting is for a job, and from another of its nodes than `own`; it has `nodes`.
    ///
    /// # Errors
    /// [`HelloError`].
    pub fn check_member(&self, job: JobId, own: u8, nodes: u8) -> Result<(), HelloError> {
        if self.job != job.0 {
            return Err(HelloError::Job(JobId(self.job)));
        }
        if self.node >= u32::from(nodes) || self.node == u32::from(own) {
            return Err(HelloError::Node(self.node));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_of_a_greeting_is_noticed() {
        let job = JobId(0x1234_5678);
        let hello = Hello::new(Purpose::Urgent, [7; 16], job, 2, 0);
        let check = |hello: &Hello, own| {
            hello.check_secret(&[7; 16]).and_then(|purpose| hello.check_member(job, own, 3).map(|()| purpose))
        };
        assert_eq!(check(&hello, 0), Ok(Purpose::Urgent));
        for at in 0..36 {
            let mut bytes = [0; HELLO_BYTES];
            bytes.copy_from_slice(hello.as_bytes());
            bytes[at] ^= 0x80;
            let Ok(damaged) = Hello::read_from_bytes(&bytes) else { panic!("the size is right") };
            assert!(check(&damaged, 0).is_err(), "byte {at}");
        }
        assert_eq!(check(&hello, 2), Err(HelloError::Node(2)));
    }
}
