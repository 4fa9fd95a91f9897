//! Today's writer against `docs/formats/durable-actors.md`, to the byte.

use std::path::Path;

use banyan_core::sponsors::{Quota, Resource, SponsorId};
use banyan_pages::disk::{Block, FileDisk};
use banyan_pages::store::{CommitRequest, Roots, SnapshotOperation, Store, StoreOptions};
use serde::Serialize;

use super::budgets::{KeptBudgets, StoredAccount, StoredPlace, Whole};
use super::changes::Reported;
use super::held::{StoredChange, StoredLedgerChange};
use super::identity::Identity;
use super::keys::{ACTOR, LEDGER, OUTBOX, QUEUED, SEEN, SELF, SENT, TIMER};
use super::kinds::Kinds;
use super::records::{Records, RecordsError, VERSION};
use super::signals::Signals;
use super::state::Durability;
use super::stored::{
    StoredActor, StoredAddress, StoredController, StoredEvent, StoredPacket, StoredSelf, StoredSend,
    StoredSponsor, StoredTimer, encode,
};
use crate::sponsors::sponsor::Signal;

const TOKEN: [u8; 16] = [7; 16];

/// The pages of a store, as the arena has them, and its roots.
fn pages(path: &Path) -> (Vec<Box<Block>>, Roots) {
    let (store, _) = Store::open(FileDisk::open(path).unwrap(), StoreOptions::default()).unwrap();
    let mut pages: Vec<Box<Block>> = Vec::new();
    for (page, entry) in store.pages().unwrap() {
        pages.resize_with((page as usize + 1).max(pages.len()), || Box::new(Block::ZERO));
        store.read_entry(page, entry, &mut pages[page as usize].0).unwrap();
    }
    let roots = store.position().roots.clone();
    (pages, roots)
}

fn slot(key: u64, value: &[u8]) -> Vec<u8> {
    [&key.to_le_bytes()[..], &(value.len() as u64 + 1).to_le_bytes(), value].concat()
}

#[test]
fn pages_are_as_the_document_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.arena");
    let mut records = Records::open(&path, None).unwrap();
    let long: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
    records.write(ACTOR | 3, &[1; 48]);
    records.write(ACTOR | 4, &[2; 49]);
    records.write(QUEUED | 1, &long);
    records.write(SELF, &[3; 4]);
    records.remove(ACTOR | 3);
    records.commit(9, SnapshotOperation::None).unwrap();
    drop(records);
    let (pages, roots) = pages(&path);
    assert_eq!(roots, Roots::from([("actors.version".to_owned(), 1)]));
    let first = |page: usize| u64::from_le_bytes(pages[page].0[..8].try_into().unwrap());
    // Slots of 64 bytes, of 128, and a long record with what is behind it.
    assert_eq!([first(0), first(1), first(2)], [1, 2, 100]);
    assert!(pages.iter().take(3).all(|page| page.0[8..16] == [0; 8]));
    assert_eq!(pages[0].0[16..24], (ACTOR | 3).to_le_bytes());
    assert_eq!(pages[0].0[24..32], [0; 8], "a free slot");
    assert_eq!(pages[0].0[80..100], slot(SELF, &[3; 4]));
    assert_eq!(pages[1].0[16..81], slot(ACTOR | 4, &[2; 49]));
    assert_eq!([&pages[2].0[16..], &pages[3].0[..]].concat()[..5016], slot(QUEUED | 1, &long));
    assert_eq!(pages.len(), 4);
}

#[test]
fn another_version_is_refused_and_none_is_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.arena");
    let mut records = Records::open(&path, None).unwrap();
    records.write(SELF, &[1]);
    records.commit(1, SnapshotOperation::None).unwrap();
    drop(records);
    let with = |roots: Roots| {
        let (mut store, _) = Store::open(FileDisk::open(&path).unwrap(), StoreOptions::default()).unwrap();
        let (operation, pages) = (SnapshotOperation::None, Vec::new().into_iter().collect());
        store.commit(&CommitRequest { epoch: 0, event: 1, roots, operation, pages }).unwrap();
        drop(store);
        Records::open(&path, None)
    };
    assert_eq!(with(Roots::new()).unwrap().read(SELF).unwrap(), [1]);
    for unknown in [0, VERSION + 1] {
        let refused = with(Roots::from([("actors.version".to_owned(), unknown)])).err().unwrap();
        assert!(matches!(refused, RecordsError::Version { found, .. } if found == unknown));
        assert!(refused.to_string().contains(&format!("version {unknown}")), "{refused}");
        assert!(Durability::open(&path, Kinds::new(), None).is_err());
        assert!(KeptBudgets::open(&path).is_err());
    }
}

#[track_caller]
fn bytes(value: &impl Serialize, expected: &[&[u8]]) {
    assert_eq!(encode(value).unwrap(), expected.concat());
}

fn packet() -> StoredPacket {
    let addresses = vec![
        StoredAddress::Own { slot: 1, generation: 300 },
        StoredAddress::Other { name: "till".to_owned(), slot: 2, generation: 0 },
        StoredAddress::Gone,
        StoredAddress::Remote { address: vec![9; 40] },
    ];
    StoredPacket { bytes: vec![5, 6], addresses }
}

/// [`packet`]: two bytes and four addresses.
fn packet_bytes() -> Vec<u8> {
    let addresses: [&[u8]; 4] = [&[0, 1, 0xac, 2], b"\x01\x04till\x02\x00", &[2], &[3, 40]];
    [&[2, 5, 6, 4], &addresses.concat()[..], &[9; 40]].concat()
}

fn event() -> StoredEvent {
    let sponsor = Some(StoredSponsor { ledger: 1, index: 2, generation: 3 });
    StoredEvent { slot: 4, generation: 1 << 31 | 5, message: packet(), sponsor }
}

fn event_bytes() -> Vec<u8> {
    [&[4, 0x85, 0x80, 0x80, 0x80, 8], &packet_bytes()[..], &[1, 1, 2, 3]].concat()
}

#[test]
fn records_of_a_configuration_are_as_the_document_says() {
    let keys = [ACTOR, QUEUED, OUTBOX, SEEN, SENT, TIMER, SELF, LEDGER];
    assert_eq!(keys.map(|key| key >> 56), [1, 2, 3, 4, 5, 6, 7, 8]);
    bytes(&StoredActor { generation: 7, behaviour: None }, &[&[7, 0]]);
    let behaviour = Some(("kind".to_owned(), packet()));
    bytes(&StoredActor { generation: 7, behaviour }, &[b"\x07\x01\x04kind", &packet_bytes()]);
    bytes(&event(), &[&event_bytes()]);
    let send = StoredSend { target: "vault".to_owned(), sequence: 128, event: event(), seal: Some(TOKEN) };
    bytes(&send, &[b"\x05vault\x80\x01", &event_bytes(), &[1], &TOKEN]);
    bytes(&("vault", 3_u64), &[b"\x05vault\x03"]);
    let timer = StoredTimer { date: 1, target: StoredAddress::Gone, message: packet(), sponsor: None };
    bytes(&timer, &[&[1, 2], &packet_bytes(), &[0]]);
    let this = StoredSelf { identity: Identity::of(TOKEN, [8; 16]), timers: 1024 };
    bytes(&this, &[&TOKEN, &[8; 16], &[0x80, 8]]);
    let change = |change| StoredLedgerChange { ledger: 1, who: TOKEN, change };
    bytes(&change(StoredChange::Made((1, 2))), &[&[1], &TOKEN, &[0, 1, 2]]);
    let give = StoredChange::Give { from: (1, 2), to: (3, 4), amount: [5, 6, 7] };
    bytes(&change(give), &[&[1], &TOKEN, &[1, 1, 2, 3, 4, 5, 6, 7]]);
    let start = StoredChange::Start { sponsor: (1, 2), controller: controller() };
    bytes(&change(start), &[&[1], &TOKEN, &[2, 1, 2], &controller_bytes()]);
    bytes(&change(StoredChange::Stop { sponsor: (1, 2), heir: (3, 4) }), &[&[1], &TOKEN, &[3, 1, 2, 3, 4]]);
}

fn controller() -> StoredController {
    StoredController { address: StoredAddress::Own { slot: 1, generation: 2 }, payer: (3, 4) }
}

fn controller_bytes() -> [u8; 5] {
    [0, 1, 2, 3, 4]
}

#[test]
fn records_of_budgets_are_as_the_document_says() {
    let whole = Whole { number: 9, granted: [1, 2, 3], retired: [4, 5, 6], places: 2 };
    bytes(&whole, &[&[9, 1, 2, 3, 4, 5, 6, 2]]);
    bytes(&StoredPlace { generation: 1, account: None }, &[&[1, 0]]);
    let account = StoredAccount {
        name: "name".to_owned(),
        parent: Some((1, 2)),
        state: 200,
        balance: [1, 2, 3],
        consumed: [4, 5, 6],
        overdrawn: 7,
        controller: Some(controller()),
    };
    let expected =
        [&b"\x01\x01\x04name\x01\x01\x02\xc8\x01\x02\x03\x04\x05\x06\x07\x01"[..], &controller_bytes()]
            .concat();
    bytes(&StoredPlace { generation: 1, account: Some(account) }, &[&expected]);
    bytes(&Reported::of(TOKEN, 5, vec![(1, 2)]), &[&TOKEN, &[5, 1, 1, 2]]);
    let mut signals = Signals::default();
    signals.identity = Identity::of(TOKEN, [8; 16]);
    let sponsor = SponsorId { index: 1, generation: 2 };
    signals.add(controller(), Signal { sponsor, resource: Resource::Events });
    bytes(&signals, &[&TOKEN, &[8; 16], &[0, 1], &controller_bytes(), &[1, 2, 2, 0]]);
}

/// The records that a ledger's store holds are those of the document.
#[test]
fn a_ledger_is_written_under_the_keys_of_the_document() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("budgets.arena");
    let simulation = crate::Simulation::kept(1, 1, Quota::AMPLE, &path).unwrap();
    simulation.sponsor("project", Quota { memory: 1, cycles: 2, events: 3 }).unwrap();
    drop(simulation);
    let records = Records::open(&path, None).unwrap();
    assert_eq!(records.keys().collect::<Vec<_>>(), [0, 1, u64::MAX]);
    assert_eq!(
        records.read(1).unwrap(),
        b"\x00\x01\x07project\x01\x00\x00\x01\x01\x02\x03\x00\x00\x00\x00\x00"
    );
}
