//! What durable actors and the budgets of sponsors are kept as: the pages of a store, the records in them,
//! and the values in those.
//!
//! Pages travel behind their numbers, records behind their keys and lengths, and the store around them is
//! made right, so that changes reach deep. Not for the store's own file: `arena` has that.

use std::path::Path;

use banyan_actors::{
    Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Kinds, Quota, Simulation, Work,
};
use banyan_pages::disk::{BLOCK_SIZE, Block, FileDisk, MemoryDisk};
use banyan_pages::store::{CommitRequest, Identity, Roots, Store, StoreOptions};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::Target;

/// The targets.
pub const TARGETS: &[Target] = &[
    Target { inputs: page_inputs, inputs_in_test: 300, ..Target::new("kept_pages", pages) },
    Target { inputs: record_inputs, inputs_in_test: 500, ..Target::new("kept_records", records) },
    Target { inputs: budget_inputs, inputs_in_test: 300, ..Target::new("kept_budgets", budgets) },
];

/// Bytes at the beginning of a page, and of a record in it (docs/formats/durable-actors.md).
const HEADER: usize = 16;
/// Sizes of slots; a page says which by its number from 1 on.
const CLASSES: [usize; 7] = [64, 128, 256, 512, 1020, 2040, 4080];
/// The class with one record for each page.
const WHOLE_PAGE: u64 = CLASSES.len() as u64;
/// Numbers of pages: a store keeps all that are below its last one in memory, and here is not for how many.
const NUMBERS: u32 = 1 << 12;
/// Events in one commit.
const BATCH: u64 = banyan_actors::durable::BATCH_EVENTS as u64;
const GRANTED: Quota = Quota { memory: 1 << 40, cycles: 1 << 40, events: 1 << 30 };

/// Says a number, has it said by another one, and says it again later.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Say {
    Number(u64),
    To(Addr<Say>, u64),
    Later(u64),
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Speaker {
    said: u64,
    others: Vec<Addr<Say>>,
}

impl Actor for Speaker {
    type Message = Say;

    fn receive(&self, message: &Say, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let mut next = self.clone();
        match message {
            Say::Number(number) => next.said = self.said.wrapping_add(*number),
            Say::To(other, number) => {
                work.send(other, Say::Number(*number));
                next.others.push(other.clone());
            }
            Say::Later(number) => {
                let me = work.me();
                work.send_after(std::time::Duration::from_secs(3600), &me, Say::Number(*number))?;
            }
        }
        work.become_next(next);
        Ok(())
    }
}

impl DurableActor for Speaker {
    const KIND: &'static str = "fuzz.speaker";
}

fn kinds() -> Kinds {
    Kinds::new().with::<Speaker>()
}

fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("memory has room")
}

/// Pages of a durable configuration's store, each behind its number in four bytes; the last may be cut.
pub fn pages(bytes: &[u8]) {
    let pages = bytes.chunks(4 + BLOCK_SIZE).filter_map(|piece| {
        let (number, page) = piece.split_first_chunk()?;
        let mut block = Block::ZERO;
        block.0[..page.len()].copy_from_slice(page);
        Some((u32::from_le_bytes(*number) % NUMBERS, block))
    });
    open(pages.collect());
}

/// Records of a durable configuration: keys in eight bytes, lengths in two, and bytes.
pub fn records(bytes: &[u8]) {
    open(pages_of_records(bytes));
}

/// Records of the store of budgets.
pub fn budgets(bytes: &[u8]) {
    let place = place();
    let path = place.path().join("budgets.arena");
    write(&path, pages_of_records(bytes));
    for _ in 0..2 {
        // Why it is refused is for people.
        match Simulation::kept(1, 1, GRANTED, &path).map_err(|error| error.to_string()) {
            Err(reason) => return assert!(reason.contains("budgets.arena"), "it names no file: {reason}"),
            Ok(mut simulation) => {
                assert!(simulation.is_conserved(), "more is there than was granted, or less");
                let _ = (simulation.sponsors(), simulation.find_sponsor("project"));
                simulation.run(50);
                simulation.close();
            }
        }
    }
}

/// Opens a store twice: it is refused as a whole, or what it has goes on and can be opened again.
fn open(pages: Vec<(u32, Block)>) {
    let place = place();
    let path = place.path().join("fuzzed.arena");
    write(&path, pages);
    for _ in 0..2 {
        // Why it is refused is for people.
        let Ok(store) = DurableStore::open(&path, kinds()).map_err(|error| error.to_string()) else { return };
        let mut simulation = Simulation::new(1, 1, GRANTED);
        let opened = simulation.open(Configuration::new("fuzzed").durable(store, Speaker::default()));
        if let Err(error) = opened {
            assert!(error.to_string().contains("fuzzed"), "it names no file: {error}");
            assert!(simulation.configurations().is_empty(), "half of it is there");
            return;
        }
        simulation.run(200);
        assert!(simulation.is_conserved());
    }
}

/// A store with these pages, whole and of this version.
fn write(path: &Path, mut pages: Vec<(u32, Block)>) {
    // Of two with one number the last one counts.
    pages.reverse();
    pages.sort_by_key(|(number, _)| *number);
    pages.dedup_by_key(|(number, _)| *number);
    let disk = std::sync::Arc::new(MemoryDisk::default());
    let mut options = StoreOptions::default();
    (options.segment_blocks, options.fold_blocks, options.growth_blocks) = (8, 16, 16);
    let identity = Identity { uuid: [5; 16], base: 1 << 46, reservation: 1 << 40 };
    let mut store = Store::create(std::sync::Arc::clone(&disk), identity, options).expect("a new store");
    let roots = Roots::from([("actors.version".to_owned(), 1)]);
    let pages = pages.iter().filter(|(number, _)| u64::from(*number) < identity.reservation / 4096);
    let pages = pages.map(|(number, block)| (*number, Some(&block.0[..]))).collect();
    let committed = store.commit(&CommitRequest { roots, pages, ..CommitRequest::default() });
    committed.expect("memory has room");
    drop(store);
    std::fs::write(path, disk.image()).expect("memory has room");
}

/// One page for each record.
fn pages_of_records(bytes: &[u8]) -> Vec<(u32, Block)> {
    let (mut pages, mut rest) = (Vec::new(), bytes);
    while let Some((key, tail)) = rest.split_first_chunk::<8>() {
        let Some((length, tail)) = tail.split_first_chunk::<2>() else { break };
        let most = tail.len().min(BLOCK_SIZE - 2 * HEADER - HEADER);
        let (record, tail) = tail.split_at(usize::from(u16::from_le_bytes(*length)).min(most));
        let mut block = Block::ZERO;
        block.0[..8].copy_from_slice(&WHOLE_PAGE.to_le_bytes());
        block.0[HEADER..HEADER + 8].copy_from_slice(key);
        block.0[HEADER + 8..2 * HEADER].copy_from_slice(&(record.len() as u64 + 1).to_le_bytes());
        block.0[2 * HEADER..2 * HEADER + record.len()].copy_from_slice(record);
        pages.push((pages.len() as u32, block));
        rest = tail;
    }
    pages
}

/// What [`pages_of_records`] takes, from the pages that a store has.
fn records_of_pages(pages: &[(u32, Block)]) -> Vec<u8> {
    let word = |block: &Block, at: usize| {
        u64::from_le_bytes(block.0[at..at + 8].try_into().expect("eight bytes are a word"))
    };
    let mut records = Vec::new();
    for (_, block) in pages {
        let class = word(block, 0) as usize;
        let Some(size) = class.checked_sub(1).and_then(|class| CLASSES.get(class)) else { continue };
        for at in (HEADER..=BLOCK_SIZE - size).step_by(*size) {
            let Some(length) = (word(block, at + 8) as usize).checked_sub(1) else { continue };
            records.extend_from_slice(&block.0[at..at + 8]);
            records.extend_from_slice(&(length as u16).to_le_bytes());
            records.extend_from_slice(&block.0[at + HEADER..at + HEADER + length]);
        }
    }
    records
}

fn read(path: &Path) -> Vec<(u32, Block)> {
    let disk = FileDisk::open(path).expect("it was closed");
    let (store, _) = Store::open(disk, StoreOptions::default()).expect("it was written whole");
    let entries = store.pages().expect("it was written whole");
    let read = entries.into_iter().map(|(number, entry)| {
        let mut block = Block::ZERO;
        store.read_entry(number, entry, &mut block.0).expect("it was written whole");
        (number, block)
    });
    read.collect()
}

/// The stores of two configurations and of their budgets, left in the middle: with states, waiting events,
/// messages that were not taken, a timer, and a sponsor.
fn stores() -> [Vec<(u32, Block)>; 2] {
    let place = place();
    let path = |name: &str| place.path().join(name);
    let mut simulation =
        Simulation::kept(1, 1, GRANTED, &path("budgets.arena")).expect("a new store of budgets");
    let budget = Quota { memory: 1 << 30, cycles: 1 << 30, events: 1 << 20 };
    let sponsor = simulation.sponsor("project", budget).expect("a part of what was granted");
    let open = |name: &str| {
        let store = DurableStore::open(&path(&format!("{name}.arena")), kinds()).expect("a new store");
        let settings = Configuration::new(name).weight(BATCH as u32).sponsor(&sponsor);
        let opened = simulation.open(settings.durable(store, Speaker::default()));
        opened.expect("a new configuration").typed::<Say>()
    };
    let (other, speaker) = (open("other"), open("speaker"));
    for number in 0..BATCH + 3 {
        let message = match number {
            BATCH => Say::To(other.clone(), 9),
            1 => Say::Later(7),
            3 => Say::To(other.clone(), 8),
            number => Say::Number(number),
        };
        simulation.send(&speaker, message);
    }
    while simulation.configurations().iter().all(|one| one.events < BATCH) {
        simulation.run(1);
    }
    drop(simulation);
    [read(&path("speaker.arena")), read(&path("budgets.arena"))]
}

fn page_inputs() -> Vec<Vec<u8>> {
    let [speaker, _] = stores();
    let bytes = speaker.iter().flat_map(|(number, block)| [&number.to_le_bytes()[..], &block.0].concat());
    vec![bytes.collect()]
}

fn record_inputs() -> Vec<Vec<u8>> {
    let [speaker, _] = stores();
    vec![records_of_pages(&speaker)]
}

fn budget_inputs() -> Vec<Vec<u8>> {
    let [_, budgets] = stores();
    vec![records_of_pages(&budgets)]
}
