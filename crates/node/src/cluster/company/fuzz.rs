//! What a fuzzer calls: the records of a company's file, and the snapshots that members send each other.
//!
//! The file is the library's (redb) and looked after by it; here are the values in it, which are this
//! crate's.

use super::commit::Write;
use super::kinds::{Entry, LogId, SnapshotMeta, Vote, Who};
use super::machine::{self, Machine, Standing};
use super::store::{Fact, Store, StoreError};
use banyan_core::companies::CompanyId;
use banyan_core::membership::{Agreed, Change, Issued, TokenBook, Uses};
use banyan_wire::cluster::{Machine as Hardware, Member, MemberId, MemberList, TokenId};
use banyan_wire::frame::{self, LENGTH_BYTES};
use openraft::{CommittedLeaderId, EntryPayload, Membership};
use redb::backends::InMemoryBackend;
use std::net::SocketAddr;
use std::sync::Arc;

pub use super::message::{fuzz as message, fuzz_inputs as message_inputs};

const COMPANY: CompanyId = CompanyId::ROOT;
const MEMBER: MemberId = MemberId([7; 10]);
const FACTS: [Fact; 6] =
    [Fact::Vote, Fact::Committed, Fact::Purged, Fact::SnapshotMeta, Fact::Snapshot, Fact::Owner];

/// The records of a file: for each a byte that says which it is (a fact by its number, anything else is the
/// next entry), its length in two bytes, and its bytes. They are refused, or are what a member goes on with.
///
/// # Panics
/// When decoding is wrong: what is accepted was written in its only spelling.
pub fn store(bytes: &[u8]) {
    let (store, _) = Store::open(InMemoryBackend::new(), MEMBER).expect("a new file in memory");
    let (mut writes, mut entries) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while let Some(([kind, low, high], tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (record, tail) = tail.split_at(length);
        match FACTS.iter().find(|fact| **fact as u8 == *kind) {
            Some(fact) => writes.push(Write::Fact(COMPANY, *fact, record.to_vec())),
            None => entries.push((entries.len() as u64, record.to_vec())),
        }
        rest = tail;
    }
    let given: Vec<Vec<u8>> = entries.iter().map(|(_, record)| record.clone()).collect();
    writes.push(Write::Append(COMPANY, entries));
    let written = store.committer().write(writes).blocking_recv();
    written.expect("the thread that writes lives").expect("memory has room");
    let checked = store.check(COMPANY);
    if let Ok(read) = store.entries(COMPANY, ..) {
        let again: Vec<Vec<u8>> =
            read.iter().map(|entry| frame::encode(entry).split_off(LENGTH_BYTES)).collect();
        assert_eq!(again, given, "an entry has two spellings");
        assert_eq!(store.last(COMPANY).expect("all can be read"), read.last().map(|entry| entry.log_id));
    } else {
        assert!(checked.is_err(), "a log that cannot be read is not sound");
    }
    let standing = Arc::new(Standing::default());
    let opened = Machine::open(store, COMPANY, Arc::clone(&standing)).map(drop);
    if let Err(error) = checked.and(opened) {
        // Why it is refused is for people.
        assert!(!error.to_string().is_empty());
    } else {
        go_on(&standing.agreed());
    }
}

/// The body of a snapshot, as another member sends it.
///
/// # Panics
/// When decoding is wrong.
pub fn snapshot(bytes: &[u8]) {
    match machine::read(bytes, COMPANY) {
        Ok(agreed) => {
            assert_eq!(frame::encode(&agreed)[LENGTH_BYTES..], *bytes, "two spellings of {agreed:?}");
            go_on(&agreed);
        }
        Err(error) => assert!(matches!(error, StoreError::Unreadable { .. } | StoreError::Contradiction(_))),
    }
}

/// Whatever was agreed on, each change is carried out or refused, and a refused one changes nothing.
fn go_on(agreed: &Agreed) {
    for change in changes() {
        let mut changed = agreed.clone();
        if changed.apply(&change).is_err() {
            assert!(changed == *agreed, "a refused change has changed something");
        }
    }
}

pub(crate) fn member(number: u8) -> Member {
    let machine =
        Hardware { version: "0.1.0".into(), features: vec!["avx2".into()], processors: 8, memory_bytes: 1 };
    let address = SocketAddr::from(([10, 0, 0, number], 7640));
    Member { id: MemberId([number; 10]), name: format!("n{number}"), address, machine, joined: 1_700_000_000 }
}

/// One of each kind, some of them refused by what [`agreed`] gives.
fn changes() -> Vec<Change> {
    let tokens = TokenBook::default();
    let list = MemberList { version: 1, members: vec![member(7)] };
    let (token, name) = (TokenId([2; 5]), || String::from("service"));
    let issued =
        Issued { id: token, digest: [3; 32], expires: 1_700_003_600, uses: Uses::Left(2), revoked: false };
    vec![
        Change::Begin { members: list, tokens },
        Change::Issue { token: issued, now: 1_700_000_000 },
        Change::Admit { member: member(8), token, digest: [3; 32], now: 1_700_000_000 },
        Change::Rename { member: MemberId([8; 10]), name: "other".into() },
        Change::Register { name: name(), value: "10.0.0.7:80".into(), holder: MEMBER, lease_seconds: 60 },
        Change::Expire { name: name(), revision: 1 },
        Change::Leave(MemberId([8; 10])),
        Change::Stay(MEMBER),
        Change::Revoke(token),
        Change::Unregister(name()),
        Change::Remove(MemberId([8; 10])),
    ]
}

/// After the changes up to the one with a lease.
fn agreed() -> Agreed {
    let mut agreed = Agreed::default();
    for change in changes().iter().take(5) {
        agreed.apply(change).expect("they follow on each other");
    }
    agreed
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, Who(MEMBER)), index)
}

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    frame::encode(value).split_off(LENGTH_BYTES)
}

/// Files with a log, and with a snapshot and none.
#[must_use]
pub fn store_inputs() -> Vec<Vec<u8>> {
    let membership = Membership::new(vec![[Who(MEMBER)].into()], None);
    let payloads = changes().into_iter().map(EntryPayload::Normal);
    let payloads = [EntryPayload::Membership(membership), EntryPayload::Blank].into_iter().chain(payloads);
    let entries = (0..).zip(payloads).map(|(index, payload)| Entry { log_id: log_id(index), payload });
    let mut log = vec![(Fact::Vote as u8, encode(&Vote::new_committed(3, Who(MEMBER))))];
    log.extend(entries.map(|entry| (u8::MAX, encode(&entry))));
    log.push((Fact::Committed as u8, encode(&Some(log_id(5)))));
    let meta = SnapshotMeta { last_log_id: Some(log_id(9)), ..SnapshotMeta::default() };
    let purged = vec![
        (Fact::Vote as u8, encode(&Vote::new(3, Who(MEMBER)))),
        (Fact::SnapshotMeta as u8, encode(&meta)),
        (Fact::Snapshot as u8, encode(&agreed())),
    ];
    [log, purged]
        .iter()
        .map(|records| {
            let mut input = Vec::new();
            for (kind, record) in records {
                input.push(*kind);
                input.extend((record.len() as u16).to_le_bytes());
                input.extend(record);
            }
            input
        })
        .collect()
}

/// Snapshots of a cluster that has begun, and of one that has not.
#[must_use]
pub fn snapshot_inputs() -> Vec<Vec<u8>> {
    vec![encode(&agreed()), encode(&Agreed::default())]
}
