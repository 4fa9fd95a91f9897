//! What daemons of one run say to each other beside pages: regions, ends, statistics.
//!
//! They travel in frames (`crate::frame`). Not for sockets.

use crate::cluster::MemberId;
use crate::statistics::NodeStatistics;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// A stretch of the program's memory with its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFacts {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// `PROT_` bits; none if only the home node can have it.
    pub protection: u32,
}

/// A message between daemons. Postcard numbers the variants in this order: a new one goes to the end.
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
    /// From home: the statistics have arrived. Close the connection and go.
    Bye,
    /// To home: this node cannot go on.
    Failed(
        /// Why.
        String,
    ),
    /// From home, the only message on a connection for a job: take part in it.
    Join(
        /// What a node needs to know.
        JobPart,
    ),
    /// The answer to it: the node does, or why not.
    Joined(
        /// Why not.
        Result<(), String>,
    ),
    /// To home: a connection of this node with another one is lost, and the run with it. Home may not see it.
    PeerLost {
        /// The other node.
        node: u8,
        /// How.
        reason: String,
    },
    /// From home: what processor time was used in the replica?
    ProcessorTime {
        /// Comes back in the answer.
        id: u64,
        /// The id at home of the thread that used it, or 0 for all.
        thread: u32,
    },
    /// To home: this, in nanoseconds.
    Used {
        /// As asked.
        id: u64,
        /// In the program's code; also what is not told apart.
        user: u64,
        /// In the kernel.
        system: u64,
    },
    /// From home: have this thread leave the node, if it is there.
    Leave {
        /// Its id at home.
        thread: u32,
    },
    /// From home: the program's process is about to be copied. The replica stands still until `Continue`.
    StandStill {
        /// Comes back in the answer.
        id: u64,
    },
    /// To home: it stands still, and no page is on its way to this node.
    StandsStill {
        /// As asked.
        id: u64,
        /// The stretches of memory of which the node has pages: first byte, and first byte after it.
        held: Vec<(u64, u64)>,
    },
    /// From home: the replica goes on.
    Continue,
    /// From home: what did the node do for the program so far?
    TellUsage {
        /// Comes back in the answer.
        id: u64,
    },
    /// To home: this, in nanoseconds since the run began there.
    Usage {
        /// As asked.
        id: u64,
        /// Threads of the replica ran.
        used: u64,
        /// They could have run, and no processor took them.
        waited: u64,
        /// They waited for pages.
        lost: u64,
    },
    /// From home: a node is about to join the job, and will connect.
    Grow {
        /// Comes back in the answer.
        id: u64,
        /// Its number: the first free one.
        node: u8,
        /// Where it is reached.
        place: Place,
    },
    /// To home: this node knows it now.
    Grown {
        /// As asked.
        id: u64,
    },
    /// From home: that node does not join after all.
    CancelGrow {
        /// Its number.
        node: u8,
    },
    /// To home: this node would leave the job.
    LetGo,
    /// From home: no thread is on the node. It hands over what it owns.
    Retire {
        /// Comes back in the answer.
        id: u64,
    },
    /// To home, before the answer to that: these extents the node does not own, nor does home.
    OwnedByOthers(
        /// Number, epoch, and owner of each.
        Vec<(u64, u64, u8)>,
    ),
    /// From home: a node that is about to leave owns nothing any more. It is served no more, and its pages
    /// are taken.
    Dismiss {
        /// Comes back in the answer.
        id: u64,
        /// Its number.
        node: u8,
    },
    /// From home: the node has nothing left. It says no more to others about pages.
    Close {
        /// Comes back in the answer.
        id: u64,
    },
    /// From home: a node has left.
    Left {
        /// Comes back in the answer.
        id: u64,
        /// Its number, which no other node gets.
        node: u8,
    },
    /// To home: it is done.
    Done {
        /// As asked.
        id: u64,
    },
}

/// Where a node of a job is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who it proves to be, if the nodes are machines of a cluster.
    pub member: Option<MemberId>,
}

/// What home says of a job to a node that is to take part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPart {
    /// The number that the node has in the job.
    pub node: u8,
    /// The nodes of the job, by number.
    pub places: Vec<Place>,
    /// Numbers of those that have left.
    pub left: Vec<u8>,
    /// What the kernel would call the program's process, filled up with zeroes.
    pub name: [u8; 16],
    /// Someone will look at what the node did.
    pub summary: bool,
    /// `KEY=VALUE`, put in the environment of the node's replica to find it by.
    pub mark: Option<String>,
    /// The pool of its number is its memory. Else that is home's, where the program had memory there before.
    pub has_pool: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameError, LENGTH_BYTES, decode, encode};
    use crate::ids::NodeId;
    use crate::statistics::{MemoryPiece, WaitCount};
    use alloc::vec;

    /// Every message with the bytes that it has always had. A change here is a new version of the greeting.
    fn golden() -> Vec<(ControlMessage, Vec<u8>)> {
        let region = RegionFacts { start: 4096, end: 8192, protection: 3 };
        let node = NodeId::new(1).expect("a node number");
        let statistics = NodeStatistics {
            name: "n".into(),
            cpu_seconds: 0.5,
            daemon_cpu_seconds: 0.0,
            memory_bytes: 4096,
            read_faults: 2,
            write_faults: 3,
            upgrade_faults: 4,
            waits: vec![WaitCount { nanoseconds: 300, count: 9 }],
            bytes_sent: 5,
            deputy_calls: 6,
            wait_seconds: 0.0,
            memory: vec![MemoryPiece { start: 0, length: 2, present: 1, owner: node }],
        };
        let place = Place { address: SocketAddr::from(([127, 0, 0, 1], 300)), member: None };
        let part = JobPart {
            node: 1,
            places: vec![
                place,
                Place {
                    address: SocketAddr::from(([127, 0, 0, 1], 2)),
                    member: Some(MemberId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])),
                },
            ],
            left: vec![7],
            name: *b"pigz\0\0\0\0\0\0\0\0\0\0\0\0",
            summary: true,
            mark: Some("A=1".into()),
            has_pool: true,
        };
        let join = [
            &[11, 1, 2, 0, 127, 0, 0, 1, 0xac, 2, 0, 0, 127, 0, 0, 1, 2][..],
            &[1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            &[1, 7],
            b"pigz",
            &[0; 12],
            &[1, 1, 3],
            b"A=1",
            &[1],
        ];
        let zero = [0; 8];
        let half = 0.5_f64.to_le_bytes();
        let ended = [
            &[8, 1, b'n'],
            &half[..],
            &zero,
            &[0x80, 0x20, 2, 3, 4, 1, 0xac, 2, 9, 5, 6],
            &zero,
            &[1, 0, 2, 1, 1],
        ];
        vec![
            (ControlMessage::ReplicaReady, vec![0]),
            (ControlMessage::Lookup { id: 1, address: 4096, access: 2 }, vec![1, 1, 0x80, 0x20, 2]),
            (ControlMessage::LookedUp { id: 1, region: None }, vec![2, 1, 0]),
            (
                ControlMessage::LookedUp { id: 1, region: Some(region) },
                vec![2, 1, 1, 0x80, 0x20, 0x80, 0x40, 3],
            ),
            (ControlMessage::Forget { id: 2, start: 1, length: 2 }, vec![3, 2, 1, 2]),
            (ControlMessage::Forgotten { id: 2 }, vec![4, 2]),
            (ControlMessage::Notice("hi".into()), vec![5, 2, b'h', b'i']),
            (ControlMessage::ReplicaLost("x".into()), vec![6, 1, b'x']),
            (ControlMessage::End, vec![7]),
            (ControlMessage::Ended(statistics), ended.concat()),
            (ControlMessage::Bye, vec![9]),
            (ControlMessage::Failed("x".into()), vec![10, 1, b'x']),
            (ControlMessage::PeerLost { node: 2, reason: "x".into() }, vec![13, 2, 1, b'x']),
            (ControlMessage::Join(part), join.concat()),
            (ControlMessage::Joined(Ok(())), vec![12, 0]),
            (ControlMessage::Joined(Err("x".into())), vec![12, 1, 1, b'x']),
            (ControlMessage::ProcessorTime { id: 1, thread: 300 }, vec![14, 1, 0xac, 2]),
            (ControlMessage::Used { id: 1, user: 4096, system: 2 }, vec![15, 1, 0x80, 0x20, 2]),
            (ControlMessage::Leave { thread: 300 }, vec![16, 0xac, 2]),
            (ControlMessage::StandStill { id: 1 }, vec![17, 1]),
            (
                ControlMessage::StandsStill { id: 1, held: vec![(4096, 8192)] },
                vec![18, 1, 1, 0x80, 0x20, 0x80, 0x40],
            ),
            (ControlMessage::Continue, vec![19]),
            (ControlMessage::TellUsage { id: 300 }, vec![20, 0xac, 2]),
            (ControlMessage::Usage { id: 1, used: 4096, waited: 2, lost: 3 }, vec![21, 1, 0x80, 0x20, 2, 3]),
            (ControlMessage::Grow { id: 1, node: 2, place }, vec![22, 1, 2, 0, 127, 0, 0, 1, 0xac, 2, 0]),
            (ControlMessage::Grown { id: 300 }, vec![23, 0xac, 2]),
            (ControlMessage::CancelGrow { node: 2 }, vec![24, 2]),
            (ControlMessage::LetGo, vec![25]),
            (ControlMessage::Retire { id: 300 }, vec![26, 0xac, 2]),
            (ControlMessage::OwnedByOthers(vec![(300, 2, 3)]), vec![27, 1, 0xac, 2, 2, 3]),
            (ControlMessage::Dismiss { id: 1, node: 2 }, vec![28, 1, 2]),
            (ControlMessage::Close { id: 300 }, vec![29, 0xac, 2]),
            (ControlMessage::Left { id: 1, node: 2 }, vec![30, 1, 2]),
            (ControlMessage::Done { id: 300 }, vec![31, 0xac, 2]),
        ]
    }

    #[test]
    fn every_message_has_the_bytes_of_the_format() {
        for (message, body) in golden() {
            let frame = encode(&message);
            assert_eq!(frame[LENGTH_BYTES..], body, "{message:?}");
            assert_eq!(frame[..LENGTH_BYTES], (body.len() as u32).to_le_bytes());
            assert_eq!(decode(&body), Ok(message));
        }
    }

    #[test]
    fn damage_is_an_error_or_another_message() {
        for (message, body) in golden() {
            for cut in 0..body.len() {
                assert!(decode::<ControlMessage>(&body[..cut]).is_err(), "{message:?} cut at {cut}");
            }
            let longer = [&body[..], &[0]].concat();
            assert_eq!(decode::<ControlMessage>(&longer), Err(FrameError::Spelling));
            for bit in 0..body.len() * 8 {
                let mut damaged = body.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                crate::fuzz::control(&damaged);
            }
        }
    }
}
