//! The bytes of coherence messages: what is written is read again, and nothing else is accepted.

use alloc::vec;

use proptest::prelude::*;

use super::fields::{RawHeader, Write};
use super::*;
use crate::fuzz;
use crate::ids::{
    Access, EXTENT_PAGES, Epoch, ExtentNumber, Microseconds, NodeId, NodeSet, PAGE_BYTES, PAGES_END,
    PageNumber, RequestNumber, Run, Transaction,
};
use alloc::vec::Vec;

fn run() -> impl Strategy<Value = Run> {
    (0..PAGES_END, 1..=EXTENT_PAGES).prop_map(|(first, count)| {
        let room = EXTENT_PAGES - PageNumber(first).index() as u32;
        Run { first: PageNumber(first), count: count.min(room) }
    })
}

fn extent() -> impl Strategy<Value = ExtentNumber> {
    (0..PAGES_END / u64::from(EXTENT_PAGES)).prop_map(ExtentNumber)
}

fn a_node() -> impl Strategy<Value = NodeId> {
    (0..64_u8).prop_filter_map("a node number", NodeId::new)
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::Read), Just(Access::Write)]
}

fn directory_entry() -> impl Strategy<Value = DirectoryEntry> {
    let holders = prop_oneof![
        a_node().prop_map(Holders::Writer),
        (any::<u64>(), a_node())
            .prop_map(|(nodes, sure)| Holders::Readers { nodes: NodeSet(nodes).with(sure), sure }),
    ];
    (holders, any::<u64>())
        .prop_map(|(holders, written)| DirectoryEntry { holders, written: Transaction(written) })
}

/// Any message: a header in which every field is valid, read by the rules of one row of the table.
fn message() -> impl Strategy<Value = Message> {
    let numbers = (any::<u64>(), 1..u64::MAX, 1..u64::MAX, any::<u64>());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let pages = proptest::collection::vec(directory_entry(), 0..=EXTENT_PAGES as usize);
    (0..Message::ROWS.len(), run(), extent(), access(), a_node(), numbers, flags, pages).prop_map(
        |(row, run, extent, access, node, (epoch, request, transaction, have), flags, pages)| {
            let (tag, _, fields) = Message::ROWS[row];
            let mut raw = RawHeader::new(0);
            raw.tag = tag;
            let mut write = Write(&mut raw);
            if fields.contains(&"run") {
                write.run(&run);
            } else {
                write.extent(&extent);
            }
            write.access(&access);
            write.epoch(&Epoch(epoch));
            write.request(&RequestNumber(request));
            write.transaction(&Transaction(transaction));
            write.have(&Transaction(have));
            if fields.contains(&"extents") || fields.contains(&"swept") {
                write.extents(&(1 + have % SWEEP_EXTENTS_MAX));
            }
            write.owner(&node);
            write.confirm(&flags.0);
            write.contents(&flags.1);
            write.demand(&flags.2);
            write.discard(&flags.3);
            write.ran(&Microseconds(have));
            let mut message = Message::read(&raw).expect("every field is valid");
            if let Message::Adopt { directory, .. } = &mut message {
                directory.pages = pages;
            }
            message
        },
    )
}

/// The frame of a message; a grant's pages are `fill`, or zero where `present` says so.
fn frame(process: u32, message: &Message, present: &[bool], fill: u8) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Message::Grant { run, contents: true, .. } = message {
        payload.resize(bitmap_bytes(run.count), 0);
        for bit in (0..run.count as usize).filter(|bit| present.get(*bit).is_some_and(|present| *present)) {
            payload[bit / 8] |= 1 << (bit % 8);
            payload.extend_from_slice(&[fill; PAGE_BYTES as usize]);
        }
    } else {
        encode_payload(message, &mut payload);
    }
    let mut frame = encode_header(process, message, payload.len() as u32).to_vec();
    frame.append(&mut payload);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_encoded_is_decoded(
        message in message(),
        process in any::<u32>(),
        present in proptest::collection::vec(any::<bool>(), 20),
    ) {
        let bytes = frame(process, &message, &present, 7);
        let (header, decoded) = decode(&bytes).unwrap();
        prop_assert_eq!(header.process(), process);
        prop_assert_eq!(&decoded, &message);
        if let Some(run) = header.contents() {
            let contents = Contents::new(run, &bytes[HEADER_BYTES..]).unwrap();
            for (index, (page, data)) in contents.pages().enumerate() {
                prop_assert_eq!(page, run.first.plus(index as u32));
                prop_assert_eq!(data.is_some(), present.get(index).is_some_and(|present| *present));
                prop_assert!(data.is_none_or(|data| data == [7; PAGE_BYTES as usize]));
            }
        }
        fuzz::coherence(&bytes);
    }

    #[test]
    fn a_damaged_frame_is_refused_or_is_another_message(message in message(), at in any::<usize>(), bit in 0..8_u8) {
        let mut bytes = frame(1, &message, &[true, false, true], 9);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        fuzz::coherence(&bytes);
        fuzz::coherence(&bytes[..at]);
    }

    #[test]
    fn any_bytes_are_decoded_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), tag in 0..16_u8) {
        fuzz::coherence(&bytes);
        let mut likely = bytes;
        likely.resize(likely.len().max(HEADER_BYTES), 0);
        likely[..4].copy_from_slice(&[b'B', b'c', VERSION, tag]);
        fuzz::coherence(&likely);
    }
}

fn get(run: Run) -> Message {
    Message::Get {
        run,
        access: Access::Read,
        epoch: Epoch(0),
        request: RequestNumber(1),
        have: Transaction(0),
        demand: true,
        ran: Microseconds(0),
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let good = frame(0, &get(Run::one(PageNumber(5))), &[], 0);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0), DecodeError::Magic([0, b'c']));
    assert_eq!(with(2, 9), DecodeError::Version(9));
    assert_eq!(with(3, 99), DecodeError::Tag(99));
    assert_eq!(with(18, 7), DecodeError::Access(7));
    assert_eq!(with(19, 1), DecodeError::Unused);
    assert_eq!(with(59, 1), DecodeError::Unused);
    assert_eq!(with(32, 0), DecodeError::Zero);
    assert_eq!(with(16, 0), DecodeError::Run { first: 5, count: 0 });
    assert_eq!(with(15, 1), DecodeError::Run { first: 5 + (1 << 56), count: 1 });
    assert_eq!(with(20, 1), DecodeError::Payload { found: 1, expected: 0 });
    assert_eq!(decode(&good[..10]).unwrap_err(), DecodeError::Short(10));
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(decode(&longer).unwrap_err(), DecodeError::Payload { found: 1, expected: 0 });
}

#[test]
fn a_sweep_has_some_extents_and_not_too_many() {
    let sweep = |extents| {
        let (extent, epoch, request) = (ExtentNumber(5), Epoch(1), RequestNumber(1));
        decode(&encode_header(0, &Message::Sweep { extent, extents, epoch, request }, 0)).map(|_| ())
    };
    assert_eq!(sweep(0), Err(DecodeError::Zero));
    assert_eq!(sweep(SWEEP_EXTENTS_MAX), Ok(()));
    assert_eq!(sweep(SWEEP_EXTENTS_MAX + 1), Err(DecodeError::Extents(SWEEP_EXTENTS_MAX + 1)));
}

#[test]
fn a_run_that_leaves_its_extent_is_refused() {
    let bytes = encode_header(0, &get(Run { first: PageNumber(511), count: 2 }), 0);
    assert!(matches!(Header::decode(&bytes), Err(DecodeError::Run { first: 511, count: 2 })));
}

#[test]
fn a_bitmap_may_not_name_pages_beyond_the_run() {
    let run = Run::one(PageNumber(0));
    let mut payload = vec![0; 8 + PAGE_BYTES as usize];
    payload[1] = 1;
    assert_eq!(Contents::new(run, &payload).unwrap_err(), DecodeError::Unused);
    payload[..2].copy_from_slice(&[1, 0]);
    assert!(Contents::new(run, &payload).is_ok());
    assert!(Contents::new(run, &payload[..7]).is_err());
}

/// Bytes at offsets of a header.
type Fields = Vec<(usize, u8)>;

/// What is in the header of a message after magic, version and tag: zero elsewhere.
fn golden() -> Vec<(u8, Message, Fields)> {
    let run = Run { first: PageNumber(0x0102), count: 3 };
    let (epoch, request, transaction) = (Epoch(4), RequestNumber(5), Transaction(6));
    let (node, extent) = (NodeId::new(7).expect("a node number"), ExtentNumber(0x0908));
    let (access, pages) = (Access::Write, [(4, 1), (8, 2), (9, 1), (16, 3), (24, 4)]);
    let whole = [(4, 1), (8, 8), (9, 9), (24, 4)];
    let entry = DirectoryEntry { holders: Holders::Writer(node), written: transaction };
    let directory =
        Directory { last: transaction, discarded: request, origin: node, pages: vec![entry, entry] };
    let of = |base: &[(usize, u8)], more: &[(usize, u8)]| [base, more].concat();
    let have = Transaction(9);
    vec![
        (
            1,
            Message::Get { run, access, epoch, request, have, demand: true, ran: Microseconds(10) },
            of(&pages, &[(18, 2), (32, 5), (48, 9), (56, 4), (60, 10)]),
        ),
        (
            2,
            Message::Forward { run, access, epoch, transaction, requester: node, request, confirm: true },
            of(&pages, &[(18, 2), (19, 7), (32, 5), (40, 6), (56, 1)]),
        ),
        (
            3,
            Message::Grant {
                run,
                access: Access::Read,
                epoch,
                transaction,
                owner: node,
                request,
                contents: true,
                confirm: true,
            },
            of(&pages, &[(18, 1), (19, 7), (20, 8), (32, 5), (40, 6), (56, 3)]),
        ),
        (4, Message::Decline { run, epoch, request }, of(&pages, &[(32, 5)])),
        (5, Message::Done { run, epoch, transaction }, of(&pages, &[(40, 6)])),
        (6, Message::Invalidate { run, epoch, transaction, discard: true }, of(&pages, &[(40, 6), (56, 8)])),
        (7, Message::Acknowledge { run, epoch, transaction }, of(&pages, &[(40, 6)])),
        (8, Message::Located { extent, epoch, owner: node }, of(&whole, &[(19, 7)])),
        (9, Message::Discard { run, epoch, request }, of(&pages, &[(32, 5)])),
        (10, Message::Discarded { run, epoch, request }, of(&pages, &[(32, 5)])),
        (
            11,
            Message::Adopt { extent, epoch, directory },
            of(&whole, &[(16, 2), (19, 7), (20, 48), (32, 5), (40, 6)]),
        ),
        (12, Message::Adopted { extent, epoch }, whole.to_vec()),
        (13, Message::Sweep { extent, extents: 11, epoch, request }, of(&whole, &[(32, 5), (48, 11)])),
        (14, Message::Swept { extent, swept: 12, epoch, request }, of(&whole, &[(32, 5), (48, 12)])),
    ]
}

#[test]
fn every_message_has_the_bytes_of_the_format() {
    assert_eq!(golden().len(), Message::ROWS.len());
    for (tag, message, fields) in golden() {
        let mut expected = [0; HEADER_BYTES];
        expected[..4].copy_from_slice(&[b'B', b'c', 2, tag]);
        fields.iter().for_each(|&(at, byte)| expected[at] = byte);
        assert_eq!(encode_header(1, &message, 8), expected, "{message:?}");
    }
}

#[test]
fn the_document_lists_every_message_with_its_fields() {
    let document = include_str!("../../../../docs/formats/wire.md");
    for (tag, name, fields) in Message::ROWS {
        let start = alloc::format!("| {tag} | `{name}` |");
        let row = document.lines().find(|line| line.starts_with(&start));
        let uses = row.and_then(|row| row.rsplit('|').nth(1)).unwrap_or_else(|| panic!("no row {start}"));
        let words: Vec<&str> = uses.split(|letter: char| !letter.is_alphanumeric()).collect();
        for field in *fields {
            assert!(words.contains(field), "the row of {name} does not name its field {field}");
        }
    }
}
