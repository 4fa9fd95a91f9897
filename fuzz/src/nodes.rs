//! What nodes, and a stub and its daemon, say to each other, and the program's file that the loader reads.

use crate::Target;
use banyan_node::{check_program, fuzz::company};
use banyan_wire::cluster::{
    self, ClusterId, ClusterMessage, JoinRequest, Machine, Member, MemberId, MemberList, Order, TokenId,
    Welcome,
};
use banyan_wire::coherence::{
    Directory, DirectoryEntry, Holders, Message, bitmap_bytes, encode_header, encode_payload,
};
use banyan_wire::control::{ControlMessage, RegionFacts};
use banyan_wire::deputy::{self, DeputyMessage};
use banyan_wire::frame::{self, LENGTH_BYTES};
use banyan_wire::fuzz;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::{
    Access, Epoch, JobId, Microseconds, NodeId, NodeSet, PAGE_BYTES, PageNumber, RequestNumber, Run,
    Transaction,
};
use banyan_wire::services::{ServiceAnswer, ServiceMessage, ServiceQuestion};
use banyan_wire::sql::{Cell, Comparison, Condition, QueryMessage, TableMessage};
use banyan_wire::statistics::{MemoryPiece, NodeStatistics, WaitCount};
use banyan_wire::stub::{
    self, Acquire, Action, ActionKind, Answer, Command, Lookup, Nothing, Range, Refusal, Refused, Reply,
    Request, Started, Steps,
};
use std::net::SocketAddr;
use std::path::Path;
use zerocopy::IntoBytes;

/// The targets.
pub const TARGETS: &[Target] = &[
    Target { inputs: coherence_inputs, ..Target::new("coherence", fuzz::coherence) },
    Target { inputs: handshake_inputs, ..Target::new("handshake", fuzz::handshake) },
    Target { inputs: deputy_inputs, ..Target::new("deputy", fuzz::deputy) },
    Target { inputs: control_inputs, ..Target::new("control", fuzz::control) },
    Target { inputs: cluster_inputs, ..Target::new("cluster", fuzz::cluster) },
    Target { inputs: company::message_inputs, ..Target::new("company", company::message) },
    Target { inputs: sql_inputs, ..Target::new("sql", fuzz::sql) },
    Target { inputs: services_inputs, ..Target::new("services", fuzz::services) },
    Target { inputs: statistics_inputs, ..Target::new("statistics", fuzz::statistics) },
    Target { inputs: stub_inputs, ..Target::new("stub", fuzz::stub) },
    Target {
        inputs: program_inputs,
        inputs_in_test: 3000,
        kept_bytes_max: 4096,
        ..Target::new("program", program)
    },
];

/// A program's file, as the loader reads it before anything of it is mapped.
pub fn program(bytes: &[u8]) {
    // Why it is refused is for people.
    let _ = check_program(Path::new("program"), bytes.to_vec()).map_err(|error| error.to_string());
}

fn frame(message: &Message, contents: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_payload(message, &mut payload);
    payload.extend_from_slice(contents);
    let mut frame = encode_header(1, message, payload.len() as u32).to_vec();
    frame.extend_from_slice(&payload);
    frame
}

/// A packet each way between a stub and its daemon, with a list, an enumeration, and nothing.
fn stub_inputs() -> Vec<Vec<u8>> {
    let mut steps = Steps::new(-1);
    assert!(steps.push(Action::new(ActionKind::Protect, 1 << 44, PAGE_BYTES, 3)));
    let refused = Refused { number: 57, reason: Refusal::NotTreated, errno: 38 };
    [
        Request::Lookup(Lookup { address: 1 << 44, protection: 1 }).encode(),
        Request::Acquire(Acquire { address: 1 << 44, length: 8192, purpose: stub::Purpose::Write }).encode(),
        Request::Refused(refused).encode(),
        Answer::Steps(steps).encode(),
        Answer::Done(Nothing {}).encode(),
        Command::Forget(Range { address: 1 << 44, length: PAGE_BYTES }).encode(),
        Reply::Started(Started { carrier: 7 }).encode(),
    ]
    .map(|packet| packet.bytes().to_vec())
    .to_vec()
}

/// A message of each shape: with a run, with pages, with a directory.
fn coherence_inputs() -> Vec<Vec<u8>> {
    let run = Run { first: PageNumber(0x1_0000_0000), count: 2 };
    let (epoch, transaction, request) = (Epoch(3), Transaction(7), RequestNumber(9));
    let (extent, node) = (run.first.extent(), NodeId::HOME);
    let get = Message::Get {
        run,
        access: Access::Read,
        epoch,
        request,
        have: Transaction(0),
        demand: true,
        ran: Microseconds(10),
    };
    let grant = Message::Grant {
        run,
        access: Access::Write,
        epoch,
        transaction,
        owner: node,
        request,
        contents: true,
        confirm: true,
    };
    // The first page is zero and is left out.
    let mut contents = vec![0; bitmap_bytes(2)];
    contents[0] = 2;
    contents.resize(contents.len() + PAGE_BYTES as usize, 7);
    let readers = Holders::Readers { nodes: NodeSet::only(node), sure: node };
    let pages = vec![
        DirectoryEntry { holders: Holders::Writer(node), written: transaction },
        DirectoryEntry { holders: readers, written: transaction },
    ];
    let directory = Directory { last: transaction, discarded: request, origin: node, pages };
    let adopt = Message::Adopt { extent, epoch, directory };
    let none = &[][..];
    vec![
        frame(&get, none),
        frame(&grant, &contents),
        frame(&adopt, none),
        frame(&Message::Invalidate { run, epoch, transaction, discard: true }, none),
        frame(&Message::Adopted { extent, epoch }, none),
    ]
}

fn handshake_inputs() -> Vec<Vec<u8>> {
    let purposes = [Purpose::Urgent, Purpose::Bulk, Purpose::Control, Purpose::Deputy];
    purposes
        .iter()
        .map(|purpose| Hello::new(*purpose, [7; 16], JobId(3), 1, 99).as_bytes().to_vec())
        .collect()
}

fn deputy_inputs() -> Vec<Vec<u8>> {
    let mut header = deputy::Header::new(DeputyMessage::Call, 1, [1, 0x1000_0000_0000, 5, 0, 0, 0]);
    (header.length, header.shipped) = (5, 2);
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(b"words");
    vec![bytes]
}

fn facts() -> NodeStatistics {
    NodeStatistics {
        name: "node".into(),
        waits: vec![WaitCount { nanoseconds: 4096, count: 2 }],
        memory: vec![MemoryPiece {
            start: 0x1000_0000_0000,
            length: 2 << 20,
            present: 4096,
            owner: NodeId::HOME,
        }],
        ..NodeStatistics::default()
    }
}

fn control_inputs() -> Vec<Vec<u8>> {
    let region = RegionFacts { start: 1 << 44, end: (1 << 44) + 4096, protection: 3 };
    let messages = [
        ControlMessage::ReplicaReady,
        ControlMessage::LookedUp { id: 5, region: Some(region) },
        ControlMessage::Notice("a line".into()),
        ControlMessage::Ended(facts()),
    ];
    messages.iter().map(|message| frame::encode(message).split_off(LENGTH_BYTES)).collect()
}

fn cluster_inputs() -> Vec<Vec<u8>> {
    let machine = Machine {
        version: "0.1.0".into(),
        features: vec!["avx2".into(), "cx16".into()],
        processors: 8,
        memory_bytes: 1 << 34,
    };
    let listen = SocketAddr::from(([10, 0, 0, 1], 7640));
    let member = Member {
        id: MemberId([7; 10]),
        name: "n2".into(),
        address: listen,
        machine: machine.clone(),
        joined: 1_700_000_000,
    };
    let list = MemberList { version: 3, members: vec![member] };
    let request = JoinRequest {
        cluster: ClusterId([1; 10]),
        token: TokenId([2; 5]),
        secret: [3; 16],
        certificate_request: vec![0x30; 40],
        name: String::new(),
        listen,
        machine,
        now: 1_700_000_000,
    };
    let welcome = Welcome { id: MemberId([7; 10]), certificate: vec![0x30; 40], members: list.clone() };
    let messages = [
        ClusterMessage::Join(request),
        ClusterMessage::Welcome(welcome),
        ClusterMessage::Refused(cluster::Refusal::Features(vec!["avx512f".into()])),
        ClusterMessage::List(Some(list)),
        ClusterMessage::Renew { certificate_request: vec![0x30; 40] },
        ClusterMessage::Order(Order::Rename { member: MemberId([7; 10]), name: "n3".into() }),
    ];
    messages.iter().map(|message| frame::encode(message).split_off(LENGTH_BYTES)).collect()
}

fn services_inputs() -> Vec<Vec<u8>> {
    let name = || String::from("decoder");
    let questions =
        [ServiceQuestion::Reach { name: name(), wait_ms: 5000 }, ServiceQuestion::Serve { name: name() }];
    let answers = [
        ServiceAnswer::Stream,
        ServiceAnswer::Serves,
        ServiceAnswer::Waits { holder: name() },
        ServiceAnswer::Refused(name()),
    ];
    let messages = [ServiceMessage::Open(name()), ServiceMessage::Opened, ServiceMessage::Refused(name())];
    let frames = questions.iter().map(frame::encode).chain(answers.iter().map(frame::encode));
    frames.chain(messages.iter().map(frame::encode)).map(|mut frame| frame.split_off(LENGTH_BYTES)).collect()
}

fn sql_inputs() -> Vec<Vec<u8>> {
    let condition = Condition { column: 2, comparison: Comparison::Less, value: Cell::Real(0.5) };
    let cells = vec![Cell::Null, Cell::Integer(-7), Cell::Text("node 1".into()), Cell::Real(1e9)];
    let tables = [
        TableMessage::Scan { table: "pages".into(), used: u64::MAX, conditions: vec![condition] },
        TableMessage::Rows { rows: 2, cells: cells.clone(), last: true },
        TableMessage::Refused("no".into()),
    ];
    let queries = [
        QueryMessage::Ask { sql: "SELECT 1".into(), bounded: true },
        QueryMessage::Columns(vec!["a".into()]),
        QueryMessage::Rows(cells),
    ];
    let tables = tables.iter().map(frame::encode);
    tables.chain(queries.iter().map(frame::encode)).map(|mut frame| frame.split_off(LENGTH_BYTES)).collect()
}

fn statistics_inputs() -> Vec<Vec<u8>> {
    postcard::to_allocvec(&facts()).into_iter().collect()
}

/// The heads of two programs of this machine, and a small program with two segments and an interpreter.
fn program_inputs() -> Vec<Vec<u8>> {
    let head = |path: &str| {
        let mut bytes = std::fs::read(path).unwrap_or_default();
        bytes.truncate(4096);
        bytes
    };
    vec![small_program(), head("/proc/self/exe"), head("/lib64/ld-linux-x86-64.so.2")]
}

fn small_program() -> Vec<u8> {
    const INTERPRETER: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";
    let word = |bytes: &mut Vec<u8>, value: u64, length: usize| bytes.extend(&value.to_le_bytes()[..length]);
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // A position-independent program for x86-64, whose three program headers follow the header.
    let fields = [(3, 2), (62, 2), (1, 4), (0x100, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (3, 2)];
    for (value, length) in fields.into_iter().chain([(0, 2); 3]) {
        word(&mut bytes, value, length);
    }
    let end = 64 + 3 * 56;
    // Kind, flags, offset, address, physical address, bytes in the file, in memory, alignment.
    for header in [
        [3, 4, end, end, 0, INTERPRETER.len() as u64, INTERPRETER.len() as u64, 1],
        [1, 5, 0, 0, 0, end + INTERPRETER.len() as u64, 4096, 4096],
        [1, 6, 0, 4096, 0, 64, 8192, 4096],
    ] {
        word(&mut bytes, header[0], 4);
        word(&mut bytes, header[1], 4);
        header[2..].iter().for_each(|value| word(&mut bytes, *value, 8));
    }
    bytes.extend_from_slice(INTERPRETER);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mutation begins from is right, or it would walk about among refusals.
    #[test]
    fn the_first_inputs_are_accepted() {
        for input in coherence_inputs() {
            banyan_wire::coherence::decode(&input).expect("a message");
        }
        for input in control_inputs() {
            frame::decode::<ControlMessage>(&input).expect("a message");
        }
        for input in cluster_inputs() {
            frame::decode::<ClusterMessage>(&input).expect("a message");
        }
        check_program(Path::new("program"), small_program()).expect("a program");
    }
}
