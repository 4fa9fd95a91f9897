//! What a fuzzer calls: one function for each decoder of bytes that another machine, or a stub, sent.
//!
//! Each one panics if decoding is wrong: no bytes may make it panic, and what is accepted has one spelling
//! only, so that it gives the same bytes when it is encoded again. Not for anything that decides whether a
//! message may be sent now.

use crate::cluster::ClusterMessage;
use crate::coherence::{self, HEADER_BYTES};
use crate::control::ControlMessage;
use crate::deputy;
use crate::frame::{LENGTH_BYTES, decode, encode};
use crate::handshake::{HELLO_BYTES, Hello};
use crate::ids::JobId;
use crate::services::{ServiceAnswer, ServiceMessage, ServiceQuestion};
use crate::sql::{COLUMNS_MAX, QueryMessage, ROWS_MAX, TableMessage};
use crate::statistics::NodeStatistics;
use crate::stub::{Answer, Command, Malformed, Packet, Reply, Request};
use alloc::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

/// A frame of a coherence lane.
///
/// # Panics
/// When decoding is wrong.
pub fn coherence(bytes: &[u8]) {
    let Ok((header, message)) = coherence::decode(bytes) else { return };
    let mut again =
        coherence::encode_header(header.process(), &message, header.payload_bytes() as u32).to_vec();
    match header.contents() {
        Some(run) => {
            let payload = &bytes[HEADER_BYTES..];
            let contents = coherence::Contents::new(run, payload).expect("it was checked with the message");
            assert_eq!(contents.pages().count(), run.count as usize);
            again.extend_from_slice(payload);
        }
        None => coherence::encode_payload(&message, &mut again),
    }
    assert_eq!(again, bytes, "two spellings of {message:?}");
}

/// A greeting, and what follows it.
///
/// # Panics
/// When decoding is wrong.
pub fn handshake(bytes: &[u8]) {
    let Some((greeting, _)) = bytes.split_at_checked(HELLO_BYTES) else { return };
    let Ok(hello) = Hello::read_from_bytes(greeting) else { panic!("the size is right") };
    // Nodes whose secret the fuzzer knows, or most of the check would never run.
    if let Ok(purpose) = hello.check_secret(&hello.secret) {
        assert_eq!(hello.purpose, purpose as u32);
    }
    if hello.check_member(JobId(hello.job), 0, 64).is_ok() {
        assert!((1..64).contains(&hello.node));
    }
    assert_eq!(hello.as_bytes(), greeting);
}

/// A message between a deputy and its carrier, whose payload may be a thread.
///
/// # Panics
/// When decoding is wrong.
pub fn deputy(bytes: &[u8]) {
    let Some((head, payload)) = bytes.split_at_checked(size_of::<deputy::Header>()) else { return };
    let Ok(header) = deputy::Header::read_from_bytes(head) else { panic!("the size is right") };
    if let Some(kind) = header.check() {
        assert_eq!(header.kind, kind as u32);
        assert!(header.length as usize <= deputy::PAYLOAD_MAX);
    }
    assert_eq!(header.as_bytes(), head);
    if let Some(state) = deputy::ThreadState::read(payload) {
        assert_eq!(state.as_bytes(), &payload[..size_of::<deputy::ThreadState>()]);
        assert_eq!(state.extended as usize, payload.len() - size_of::<deputy::ThreadState>());
    }
}

/// The body of a control message.
///
/// # Panics
/// When decoding is wrong.
pub fn control(bytes: &[u8]) {
    let Ok(message) = decode::<ControlMessage>(bytes) else { return };
    assert_eq!(encode(&message)[LENGTH_BYTES..], *bytes, "two spellings of {message:?}");
}

/// The body of a message about the cluster.
///
/// # Panics
/// When decoding is wrong.
pub fn cluster(bytes: &[u8]) {
    let Ok(message) = decode::<ClusterMessage>(bytes) else { return };
    assert_eq!(encode(&message)[LENGTH_BYTES..], *bytes, "two spellings of {message:?}");
}

/// The body of a message about tables, between nodes or from a node to who asks it.
///
/// # Panics
/// When decoding is wrong.
pub fn sql(bytes: &[u8]) {
    if let Ok(message) = decode::<TableMessage>(bytes) {
        assert_eq!(encode(&message)[LENGTH_BYTES..], *bytes, "two spellings of {message:?}");
        if let TableMessage::Rows { rows, cells, .. } = &message {
            let columns = cells.len().checked_div(*rows as usize).unwrap_or(0);
            assert!(!message.is_possible(columns) || *rows as usize <= ROWS_MAX);
            assert!(!message.is_possible(columns + COLUMNS_MAX) || *rows == 0);
        }
    }
    if let Ok(message) = decode::<QueryMessage>(bytes) {
        assert_eq!(encode(&message)[LENGTH_BYTES..], *bytes, "two spellings of {message:?}");
    }
}

/// What is said about a service, by a process, its node, or another node.
///
/// # Panics
/// When decoding is wrong.
pub fn services(bytes: &[u8]) {
    let same =
        |encoded: Option<Vec<u8>>| assert!(encoded.is_none_or(|again| again[LENGTH_BYTES..] == *bytes));
    same(decode::<ServiceQuestion>(bytes).ok().map(|message| encode(&message)));
    same(decode::<ServiceAnswer>(bytes).ok().map(|message| encode(&message)));
    same(decode::<ServiceMessage>(bytes).ok().map(|message| encode(&message)));
}

/// A node's statistics, as they are in the control message that brings them.
///
/// # Panics
/// When decoding is wrong.
pub fn statistics(bytes: &[u8]) {
    let Ok((read, rest)) = postcard::take_from_bytes::<NodeStatistics>(bytes) else { return };
    let again = postcard::to_extend(&read, Vec::new()).expect("plain data can be encoded");
    // Compared as bytes: a number that is no number differs from itself.
    let read_again: NodeStatistics = postcard::from_bytes(&again).expect("what was written can be read");
    let twice = postcard::to_extend(&read_again, Vec::new()).expect("plain data can be encoded");
    assert_eq!(again, twice);
    assert!(again.len() <= bytes.len() - rest.len(), "the only spelling is the shortest");
}

/// A packet between a stub and its daemon, as each of the four that it may be.
///
/// # Panics
/// When decoding is wrong.
pub fn stub(bytes: &[u8]) {
    let same = |encoded: Result<Packet, Malformed>| {
        if let Ok(packet) = encoded {
            assert_eq!(packet.bytes(), bytes);
        }
    };
    same(Request::decode(bytes).map(|message| message.encode()));
    same(Answer::decode(bytes).map(|message| message.encode()));
    same(Command::decode(bytes).map(|message| message.encode()));
    same(Reply::decode(bytes).map(|message| message.encode()));
}
