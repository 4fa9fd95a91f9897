//! The oracle: what the store must hold, kept in plain maps.

use std::collections::BTreeMap;

use crate::disk::{Block, Disk};
use crate::store::{CommitRequest, Roots, SnapshotOperation, Store};

/// The content of the arena at one commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    pub(crate) transaction: u64,
    pub(crate) event: u64,
    pub(crate) roots: Roots,
    /// Page number to the seed of its bytes.
    pub(crate) pages: BTreeMap<u32, u64>,
    pub(crate) snapshots: BTreeMap<String, BTreeMap<u32, u64>>,
}

/// The bytes of a page.
pub(crate) fn page_bytes(page: u32, seed: u64) -> Block {
    let mut block = Block::ZERO;
    // Mostly zero, as heap pages are, but every sector names itself.
    for (at, sector) in block.0.chunks_mut(512).enumerate() {
        sector[..8].copy_from_slice(&(seed ^ u64::from(page) << 32 ^ (at as u64) << 56).to_le_bytes());
        sector[504..].copy_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    block
}

/// One step of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) pages: BTreeMap<u32, Option<u64>>,
    pub(crate) operation: SnapshotOperation,
    pub(crate) fold: bool,
}

/// A generator with a seed: the tests' only source of chance.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub(crate) fn random_step(chance: &mut Chance, version: &Version) -> Step {
    let mut pages = BTreeMap::new();
    let count = [0, 1, 1, 2, 2, 3, 5, 9][chance.below(8) as usize];
    for _ in 0..count {
        let page = chance.below(14) as u32;
        let seed = if chance.below(8) == 0 { None } else { Some(chance.0 | 1) };
        pages.insert(page, seed);
    }
    let names = ["a", "b", "c"];
    let name = names[chance.below(3) as usize].to_owned();
    let operation = match (chance.below(3), version.snapshots.contains_key(&name)) {
        (0, false) => SnapshotOperation::Retain(name),
        (0, true) => SnapshotOperation::Drop(name),
        _ => SnapshotOperation::None,
    };
    Step { pages, operation, fold: chance.below(5) == 0 }
}

impl Version {
    pub(crate) fn after(&self, step: &Step) -> Version {
        let mut next = self.clone();
        next.transaction += 1;
        // Tells apart two commits that were given the same number because a crash came between.
        next.event =
            step.pages.values().flatten().fold(self.event * 31 % (1 << 40) + 3, |sum, seed| sum ^ seed >> 24);
        next.roots.insert("root".to_owned(), next.transaction * 7);
        // A long name of changing length, so that a record's lists straddle the header's sectors.
        next.roots.retain(|name, _| name == "root");
        next.roots.insert("x".repeat(280 + (next.transaction * 37 % 120) as usize), 1);
        for (page, seed) in &step.pages {
            match seed {
                Some(seed) => next.pages.insert(*page, *seed),
                None => next.pages.remove(page),
            };
        }
        match &step.operation {
            SnapshotOperation::None => {}
            SnapshotOperation::Retain(name) => {
                next.snapshots.insert(name.clone(), next.pages.clone());
            }
            SnapshotOperation::Drop(name) => {
                next.snapshots.remove(name);
            }
        }
        next
    }

    /// Commits this version, reached by `step`.
    pub(crate) fn commit<D: Disk>(
        &self,
        store: &mut Store<D>,
        step: &Step,
    ) -> Result<(), crate::store::CommitError> {
        let blocks: Vec<(u32, Option<Block>)> =
            step.pages.iter().map(|(page, seed)| (*page, seed.map(|seed| page_bytes(*page, seed)))).collect();
        let request = CommitRequest {
            epoch: 1,
            event: self.event,
            roots: self.roots.clone(),
            operation: step.operation.clone(),
            pages: blocks.iter().map(|(page, block)| (*page, block.as_ref().map(|b| &b.0[..]))).collect(),
        };
        store.commit(&request).map(|_| ())
    }

    /// What differs between the store and this version, if anything.
    pub(crate) fn fault<D: Disk>(&self, store: &mut Store<D>) -> Option<String> {
        let position = store.position();
        if (position.transaction, position.event, &position.roots)
            != (self.transaction, self.event, &self.roots)
        {
            return Some(format!("position {position:?}, expected {}", self.transaction));
        }
        let pages = match store.pages() {
            Ok(pages) => pages,
            Err(error) => return Some(format!("the directory cannot be read: {error}")),
        };
        if let Some(fault) = compare(store, &pages, &self.pages, "present") {
            return Some(fault);
        }
        let names: Vec<String> = store.snapshots().into_iter().map(|info| info.name).collect();
        let mut sorted = names.clone();
        sorted.sort();
        if sorted != self.snapshots.keys().cloned().collect::<Vec<_>>() {
            return Some(format!("snapshots {names:?}, expected {:?}", self.snapshots.keys()));
        }
        for (name, expected) in &self.snapshots {
            // Snapshots that only the log knows are checked once they are folded.
            if let Some(handle) = store.folded_snapshot(name) {
                let pages = match store.pages_of(&handle) {
                    Ok(pages) => pages,
                    Err(error) => return Some(format!("snapshot {name}: {error}")),
                };
                if let Some(fault) = compare(store, &pages, expected, name) {
                    return Some(fault);
                }
            }
        }
        match store.audit() {
            Ok(audit) if audit.faults.is_empty() => None,
            Ok(audit) => Some(audit.faults.join("; ")),
            Err(error) => Some(format!("the audit failed: {error}")),
        }
    }
}

fn compare<D: Disk>(
    store: &Store<D>,
    pages: &[(u32, crate::store::PageEntry)],
    expected: &BTreeMap<u32, u64>,
    what: &str,
) -> Option<String> {
    if !pages.iter().map(|(page, _)| page).eq(expected.keys()) {
        return Some(format!("{what}: pages {pages:?}, expected {expected:?}"));
    }
    let mut block = Block::ZERO;
    for (page, entry) in pages {
        if let Err(error) = store.read_entry(*page, *entry, &mut block.0) {
            return Some(format!("{what}: page {page}: {error}"));
        }
        if block.0 != page_bytes(*page, expected[page]).0 {
            return Some(format!("{what}: page {page} has other bytes than were committed"));
        }
    }
    None
}
