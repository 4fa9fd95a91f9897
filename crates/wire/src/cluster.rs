//! What machines say to each other about the cluster they form: joining it, leaving it, who belongs to it.
//!
//! Each conversation is one frame (`crate::frame`) and one back, on a connection of [`Purpose::Cluster`]. Not
//! here: who may say what (`banyan_core::membership` decides), and how the speaker proves who it is (TLS).
//!
//! [`Purpose::Cluster`]: crate::handshake::Purpose::Cluster

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes bytes in the small letters and digits that may stand in a DNS name, five bits each (RFC 4648
/// "base32hex"), without padding.
pub fn write_letters(bytes: &[u8], to: &mut fmt::Formatter<'_>) -> fmt::Result {
    data_encoding::BASE32_DNSSEC.encode_write(bytes, to)
}

/// Reads as many bytes as there are places for from the letters of [`write_letters`].
#[must_use]
pub fn read_letters<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = data_encoding::BASE32_DNSSEC.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

macro_rules! named_bytes {
    ($(#[$comment:meta])* $name:ident, $bytes:literal) => {
        $(#[$comment])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    Self::parse(&text).ok_or_else(|| D::Error::custom("letters that are no id"))
                } else {
                    Deserialize::deserialize(deserializer).map(Self)
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_letters(&self.0, to)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(to, concat!(stringify!($name), "({})"), self)
            }
        }

        impl $name {
            /// What `Display` has written, read again.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                read_letters(text).map(Self)
            }
        }
    };
}

named_bytes! {
    /// A cluster: random, chosen when it is made.
    ClusterId, 10
}
named_bytes! {
    /// A machine of a cluster: the beginning of the SHA-256 of its public key. A machine whose state is lost
    /// makes a new key, and is another member.
    MemberId, 10
}
named_bytes! {
    /// A token that lets machines join.
    TokenId, 5
}

/// What must fit for programs to run on several machines, and what a machine offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Version of the build.
    pub version: String,
    /// Instruction sets of the processor that programs look for, in alphabetical order.
    pub features: Vec<String>,
    /// Processors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it proves to be.
    pub id: MemberId,
    /// What people call it; no two members have the same.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is.
    pub machine: Machine,
    /// When it joined, in seconds since 1970.
    pub joined: u64,
}

/// The members as the root company has agreed on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberList {
    /// Goes up with every change.
    pub version: u64,
    /// Sorted by id.
    pub members: Vec<Member>,
}

/// A machine asks to join. It has made sure that it speaks to the token's cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token's cluster.
    pub cluster: ClusterId,
    /// The token.
    pub token: TokenId,
    /// The token's secret.
    pub secret: [u8; 16],
    /// A request for a certificate (PKCS #10, DER), signed with the machine's key.
    pub certificate_request: Vec<u8>,
    /// What it wants to be called; empty if anything is right.
    pub name: String,
    /// The port on which it listens. Its address is the one that it speaks from, or this.
    pub listen: SocketAddr,
    /// What it is.
    pub machine: Machine,
    /// Its clock, in seconds since 1970.
    pub now: u64,
}

/// What a machine needs to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The member that it is now.
    pub id: MemberId,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// All members, itself included.
    pub members: MemberList,
}

/// Why a machine does not join, or a member is not heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such token was ever made, or its secret is another.
    #[error("this cluster does not know the token; make one with `banyan token new`")]
    TokenUnknown,
    /// It was taken back.
    #[error("the token was revoked; make another with `banyan token new`")]
    TokenRevoked,
    /// Its time is over.
    #[error("the token expired {seconds} s ago; make another with `banyan token new`")]
    TokenExpired {
        /// For how long.
        seconds: u64,
    },
    /// As many machines have joined with it as it was made for.
    #[error("the token is used up; make another with `banyan token new`")]
    TokenUsedUp,
    /// A token of another cluster than the one that listens there.
    #[error("the token is for cluster {token}, and cluster {here} listens there")]
    OtherCluster {
        /// The token's.
        token: ClusterId,
        /// This one.
        here: ClusterId,
    },
    /// Another member is called so.
    #[error("another member is called {0}; choose another name with --name")]
    NameTaken(String),
    /// A name that cannot be one.
    #[error("{0:?} cannot be a name: letters, digits, `-`, `_` and `.` make one, 63 at most")]
    NameInvalid(String),
    /// Another build.
    #[error("this machine has Banyan {theirs}, the cluster {ours}; install {ours} here")]
    Version {
        /// The joining machine's.
        theirs: String,
        /// The cluster's.
        ours: String,
    },
    /// The processor lacks what programs may use elsewhere in the cluster.
    #[error("the processor of this machine lacks {}, which the cluster's have", .0.join(", "))]
    Features(
        /// What is missing.
        Vec<String>,
    ),
    /// The clocks differ by more than a day, with which certificates cannot work.
    #[error("the clock of this machine is {seconds} s away from the cluster's; set it first")]
    Clock {
        /// How far; positive if the joining machine's is ahead.
        seconds: i64,
    },
    /// There are as many members as a cluster can have.
    #[error("the cluster is full: it has {0} members")]
    Full(u32),
    /// The machine is not, or no longer, a member.
    #[error("{0} is not a member of the cluster; join with a new token")]
    Stranger(MemberId),
    /// Another member leads, or none that this one knows of.
    #[error("this member does not lead the cluster")]
    NotLeading {
        /// Which one does, as far as this one knows.
        leader: Option<MemberId>,
    },
    /// Another member has registered the name.
    #[error("{0} has registered that name, and its lease is not over")]
    NameHeld(MemberId),
    /// The request cannot be served, and why.
    #[error("{0}")]
    Failed(String),
    /// Who should serve the request does not answer; another may soon.
    #[error("{0}")]
    Unanswered(String),
}

/// What a member has the one that leads do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A token that the member has made.
    IssueToken {
        /// Its number.
        id: TokenId,
        /// SHA-256 of its secret.
        digest: [u8; 32],
        /// For how long it is good.
        seconds: u64,
        /// For how many machines; for all that come, without a number.
        uses: Option<u32>,
    },
    /// Take a token back.
    RevokeToken(TokenId),
    /// Take a member out.
    Remove(MemberId),
    /// It will not leave after all.
    Stay(MemberId),
    /// Give a member another name.
    Rename {
        /// Which.
        member: MemberId,
        /// The name.
        name: String,
    },
    /// Register a name for the member that asks.
    Register {
        /// The name.
        name: String,
        /// What it stands for.
        value: String,
        /// For how long, if it is not renewed.
        lease_seconds: u32,
    },
    /// Take a name away.
    Unregister(String),
    /// Begin the lease of a name anew.
    Renew {
        /// The name.
        name: String,
        /// As which it was registered.
        revision: u64,
    },
    /// Nothing: from which entry of the log on does one know all that was agreed on before?
    Nothing,
}

/// What a machine says about the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterMessage {
    /// From a stranger, and from the member that it has asked to the one that leads: let me in.
    Join(JoinRequest),
    /// The answer: a member now.
    Welcome(Welcome),
    /// The answer: no.
    Refused(Refusal),
    /// To a member: is it there? Says which list the asking member has.
    Ping {
        /// Its version.
        version: u64,
    },
    /// The answer.
    Pong {
        /// The version of the list that the answering member has.
        version: u64,
    },
    /// To any member: what is the list? And the answer.
    List(
        /// Empty in a question.
        Option<MemberList>,
    ),
    /// To the member that leads.
    Order(Order),
    /// The answer: it is done.
    Done {
        /// Who has applied this entry of the log knows it.
        index: u64,
    },
    /// To a member that has the authority's key: a new certificate for the same key.
    Renew {
        /// A request for it (PKCS #10, DER).
        certificate_request: Vec<u8>,
    },
    /// The answer.
    Renewed {
        /// DER.
        certificate: Vec<u8>,
    },
    /// To a member that is to vote: the authority's key.
    Authority {
        /// PKCS #8, PEM.
        key: String,
    },
    /// The answer: it is kept.
    Taken,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameError, LENGTH_BYTES, decode, encode};
    use alloc::string::ToString;
    use alloc::vec;

    fn machine() -> Machine {
        Machine { version: "1".into(), features: vec!["avx".into()], processors: 2, memory_bytes: 300 }
    }

    fn member() -> Member {
        Member {
            id: MemberId([1; 10]),
            name: "a".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 2)),
            machine: machine(),
            joined: 9,
        }
    }

    /// Some messages with the bytes that they have always had. A change here is a new version of the
    /// greeting.
    fn golden() -> Vec<(ClusterMessage, Vec<u8>)> {
        let machine_bytes = [1, b'1', 1, 3, b'a', b'v', b'x', 2, 0xac, 2];
        let member_bytes = [&[1; 10][..], &[1, b'a', 0, 127, 0, 0, 1, 2], &machine_bytes, &[9]].concat();
        let list = MemberList { version: 3, members: vec![member()] };
        let list_bytes = [&[3, 1][..], &member_bytes].concat();
        let request = JoinRequest {
            cluster: ClusterId([2; 10]),
            token: TokenId([3; 5]),
            secret: [4; 16],
            certificate_request: vec![5],
            name: "b".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 2)),
            machine: machine(),
            now: 7,
        };
        let request_bytes = [
            &[0][..],
            &[2; 10],
            &[3; 5],
            &[4; 16],
            &[1, 5, 1, b'b', 0, 127, 0, 0, 1, 2],
            &machine_bytes,
            &[7],
        ];
        let welcome = Welcome { id: MemberId([1; 10]), certificate: vec![8], members: list.clone() };
        vec![
            (ClusterMessage::Join(request), request_bytes.concat()),
            (ClusterMessage::Welcome(welcome), [&[1][..], &[1; 10], &[1, 8], &list_bytes].concat()),
            (ClusterMessage::Refused(Refusal::TokenUnknown), vec![2, 0]),
            (ClusterMessage::Refused(Refusal::TokenRevoked), vec![2, 1]),
            (ClusterMessage::Refused(Refusal::TokenExpired { seconds: 5 }), vec![2, 2, 5]),
            (ClusterMessage::Refused(Refusal::TokenUsedUp), vec![2, 3]),
            (ClusterMessage::Refused(Refusal::NameTaken("x".into())), vec![2, 5, 1, b'x']),
            (ClusterMessage::Refused(Refusal::Clock { seconds: -1 }), vec![2, 9, 1]),
            (ClusterMessage::Ping { version: 3 }, vec![3, 3]),
            (ClusterMessage::Pong { version: 4 }, vec![4, 4]),
            (ClusterMessage::List(None), vec![5, 0]),
            (ClusterMessage::List(Some(list)), [&[5, 1][..], &list_bytes].concat()),
            (ClusterMessage::Order(Order::Remove(MemberId([6; 10]))), [&[6, 2][..], &[6; 10]].concat()),
            (ClusterMessage::Order(Order::Nothing), vec![6, 8]),
            (ClusterMessage::Done { index: 300 }, vec![7, 0xac, 2]),
            (ClusterMessage::Renew { certificate_request: vec![1, 2] }, vec![8, 2, 1, 2]),
            (ClusterMessage::Renewed { certificate: vec![1] }, vec![9, 1, 1]),
            (ClusterMessage::Authority { key: "k".into() }, vec![10, 1, b'k']),
            (ClusterMessage::Taken, vec![11]),
        ]
    }

    #[test]
    fn every_message_has_the_bytes_of_the_format() {
        for (message, body) in golden() {
            assert_eq!(encode(&message)[LENGTH_BYTES..], body, "{message:?}");
            assert_eq!(decode(&body), Ok(message));
        }
    }

    #[test]
    fn damage_is_an_error_or_another_message() {
        for (message, body) in golden() {
            for cut in 0..body.len() {
                assert!(decode::<ClusterMessage>(&body[..cut]).is_err(), "{message:?} cut at {cut}");
            }
            let longer = [&body[..], &[0]].concat();
            assert_eq!(decode::<ClusterMessage>(&longer), Err(FrameError::Spelling));
            for bit in 0..body.len() * 8 {
                let mut damaged = body.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                crate::fuzz::cluster(&damaged);
            }
        }
    }

    #[test]
    fn ids_are_letters_that_a_domain_name_may_have_and_are_read_again() {
        let id = MemberId([0, 255, 1, 2, 3, 4, 5, 6, 7, 8]);
        let text = id.to_string();
        assert_eq!(text.len(), 16);
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        assert_eq!(MemberId::parse(&text), Some(id));
        for wrong in ["", "0", &text[1..], "zzzzzzzzzzzzzzzz", &[&text[..], "0"].concat()] {
            assert_eq!(MemberId::parse(wrong), None, "{wrong}");
        }
    }
}
