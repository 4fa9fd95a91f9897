//! [`Records`]: numbered byte strings in the pages of a store, changed in memory and committed
//! together.
//!
//! A page is either a slab of slots of one size, or the beginning or rest of a record that is larger than a
//! page. What a page holds is read back when the store is opened; there is no other index. Only pages that
//! changed are committed. The format is in `docs/formats/durable-actors.md`.
//!
//! It is here and not beside the pages: its keys and its version are those of durable actors, and nothing
//! else uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use banyan_pages::disk::{BLOCK_SIZE, Block, FileDisk, FileDiskError, NewFile};
use banyan_pages::store::{
    CommitError, CommitRequest, CreateError, Identity, OpenError, Position, ReadError, Roots, SnapshotInfo,
    SnapshotOperation, Store, StoreOptions,
};
use banyan_wire::address_space::ARENA_HEAPS;

/// The root of the store that names the version of what is in the pages: their layout, and the records.
const VERSION_ROOT: &str = "actors.version";
/// The version that is written. A store without the root was written before there was one, and is as this.
pub(crate) const VERSION: u64 = 1;
/// Bytes at the beginning of a page: how it is divided.
const PAGE_HEADER: usize = 16;
/// Bytes before a record: its key and its length plus one; zero for a free slot.
const SLOT_HEADER: usize = 16;
/// Sizes of slots, headers included.
const CLASSES: [usize; 7] = [64, 128, 256, 512, 1020, 2040, 4080];
/// The class of a page that begins a large record.
const LARGE: u32 = 100;
/// What a store says of the heap whose pages it has. Records have none, and nobody maps this one.
const RESERVATION: u64 = 1 << 40;
/// The longest record: a bound on what a damaged length can ask for.
const RECORD_MAX: usize = 1 << 30;

/// Why a store of records could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The file could not be had.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileDiskError,
    },
    /// The store could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A page could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no such snapshot, or it cannot be opened.
    #[error(transparent)]
    Snapshot(#[from] CommitError),
    /// The records are of another version.
    #[error(
        "{path} holds records of version {found}, and this build reads version {VERSION}: use the build that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A page does not hold records.
    #[error("page {page} of {path} does not hold records; it is an arena of another program")]
    NotRecords {
        /// The file.
        path: PathBuf,
        /// The page.
        page: u32,
    },
}

#[derive(Clone, Copy)]
struct Place {
    page: u32,
    offset: usize,
    /// Index into `CLASSES`, or `LARGE`.
    class: u32,
}

/// Records by key.
pub(crate) struct Records {
    path: PathBuf,
    identity: Identity,
    /// `None` after a failed write or sync, until the next commit opens it again.
    store: Option<Store<FileDisk>>,
    /// The last commit, as far as is known: a failed one may be durable all the same.
    last: (u64, u64),
    pages: Vec<Box<Block>>,
    index: BTreeMap<u64, Place>,
    /// Free slots of each class.
    free_slots: [Vec<(u32, usize)>; CLASSES.len()],
    free_pages: BTreeSet<u32>,
    dirty: BTreeSet<u32>,
    /// Commits that find no room, for tests of full disks.
    pub(super) without_room: u32,
    /// Commits that fail, every second one after it was written, for tests of faulty disks.
    pub(super) faults: u32,
}

fn word(page: &Block, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page.0[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn pages_of(length: usize) -> usize {
    (PAGE_HEADER + SLOT_HEADER + length).div_ceil(BLOCK_SIZE)
}

impl Records {
    /// Opens the store at its last commit, or at a snapshot; makes it if there is none.
    pub(crate) fn open(path: &Path, snapshot: Option<&str>) -> Result<Self, RecordsError> {
        if !path.exists() {
            create(path)?;
        }
        let disk = FileDisk::open(path);
        let disk = disk.map_err(|source| RecordsError::File { path: path.to_owned(), source })?;
        let (mut store, _) = Store::open(disk, StoreOptions::default())?;
        let found = store.position().roots.get(VERSION_ROOT).copied().unwrap_or(VERSION);
        if found != VERSION {
            return Err(RecordsError::Version { path: path.to_owned(), found });
        }
        let entries = match snapshot {
            None => store.pages()?,
            Some(name) => {
                let handle = store.open_snapshot(name)?;
                let pages = store.pages_of(&handle)?;
                store.close_snapshot(&handle);
                pages
            }
        };
        let Position { transaction, event, .. } = *store.position();
        let mut records = Self {
            path: path.to_owned(),
            identity: store.identity(),
            store: None,
            last: (transaction, event),
            pages: Vec::new(),
            index: BTreeMap::new(),
            free_slots: Default::default(),
            free_pages: BTreeSet::new(),
            dirty: BTreeSet::new(),
            without_room: 0,
            faults: 0,
        };
        for (page, entry) in entries {
            let last = page as usize + 1;
            while records.pages.len() < last {
                records.pages.push(Box::new(Block::ZERO));
            }
            store.read_entry(page, entry, &mut records.pages[page as usize].0)?;
        }
        records.store = Some(store);
        records.find_all().map_err(|page| RecordsError::NotRecords { path: path.to_owned(), page })?;
        Ok(records)
    }

    /// Builds the index from the pages. The error is the page that is not as this writes them.
    fn find_all(&mut self) -> Result<(), u32> {
        let mut number = 0;
        while number < self.pages.len() {
            let page = &self.pages[number];
            let bad = u32::try_from(number).unwrap_or(u32::MAX);
            let class = u32::try_from(word(page, 0)).map_err(|_| bad)?;
            if class == 0 {
                self.free_pages.insert(bad);
                number += 1;
            } else if class == LARGE {
                let length = usize::try_from(word(page, PAGE_HEADER + 8)).map_err(|_| bad)?;
                let length = length.checked_sub(1).filter(|length| *length <= RECORD_MAX).ok_or(bad)?;
                let place = Place { page: bad, offset: PAGE_HEADER, class };
                self.index.insert(word(page, PAGE_HEADER), place);
                number += pages_of(length);
                if number > self.pages.len() {
                    // The rest of the record may be zeroes, which are not stored.
                    self.pages.resize_with(number, || Box::new(Block::ZERO));
                }
            } else {
                let size = *CLASSES.get(class as usize - 1).ok_or(bad)?;
                for offset in (PAGE_HEADER..=BLOCK_SIZE - size).step_by(size) {
                    match usize::try_from(word(page, offset + 8)).map_err(|_| bad)? {
                        0 => self.free_slots[class as usize - 1].push((bad, offset)),
                        length if length - 1 <= size - SLOT_HEADER => {
                            let place = Place { page: bad, offset, class: class - 1 };
                            self.index.insert(word(page, offset), place);
                        }
                        _ => return Err(bad),
                    }
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// All keys, ascending.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.index.keys().copied()
    }

    pub(crate) fn read(&self, key: u64) -> Option<Vec<u8>> {
        let Place { page, offset, .. } = *self.index.get(&key)?;
        let length = word(&self.pages[page as usize], offset + 8) as usize - 1;
        let mut bytes = Vec::with_capacity(length);
        let (mut page, mut at) = (page as usize, offset + SLOT_HEADER);
        while bytes.len() < length {
            let count = (length - bytes.len()).min(BLOCK_SIZE - at);
            bytes.extend_from_slice(&self.pages[page].0[at..at + count]);
            (page, at) = (page + 1, 0);
        }
        Some(bytes)
    }

    pub(crate) fn write(&mut self, key: u64, bytes: &[u8]) {
        assert!(bytes.len() <= RECORD_MAX, "a record has at most {RECORD_MAX} bytes, not {}", bytes.len());
        let class = CLASSES.iter().position(|size| bytes.len() + SLOT_HEADER <= *size);
        let place = match self.index.get(&key) {
            Some(place) if Some(place.class as usize) == class => *place,
            _ => {
                self.remove(key);
                let place = match class {
                    Some(class) => self.new_slot(class),
                    None => self.new_run(pages_of(bytes.len())),
                };
                self.index.insert(key, place);
                place
            }
        };
        let header = [key.to_le_bytes(), (bytes.len() as u64 + 1).to_le_bytes()].concat();
        let (mut page, mut at) = (place.page as usize, place.offset);
        self.put(page, at, &header);
        at += SLOT_HEADER;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rest.len().min(BLOCK_SIZE - at);
            self.put(page, at, &rest[..count]);
            rest = &rest[count..];
            (page, at) = (page + 1, 0);
        }
    }

    fn put(&mut self, page: usize, at: usize, bytes: &[u8]) {
        self.pages[page].0[at..at + bytes.len()].copy_from_slice(bytes);
        self.dirty.insert(page as u32);
    }

    pub(crate) fn remove(&mut self, key: u64) {
        let Some(Place { page, offset, class }) = self.index.remove(&key) else { return };
        if class == LARGE {
            let length = word(&self.pages[page as usize], offset + 8) as usize - 1;
            for number in page..page + pages_of(length) as u32 {
                self.pages[number as usize].0.fill(0);
                self.dirty.insert(number);
                self.free_pages.insert(number);
            }
        } else {
            self.put(page as usize, offset + 8, &0_u64.to_le_bytes());
            self.free_slots[class as usize].push((page, offset));
        }
    }

    fn new_slot(&mut self, class: usize) -> Place {
        if let Some((page, offset)) = self.free_slots[class].pop() {
            return Place { page, offset, class: class as u32 };
        }
        let page = self.new_pages(1);
        self.put(page as usize, 0, &(class as u64 + 1).to_le_bytes());
        let size = CLASSES[class];
        for offset in (PAGE_HEADER + size..BLOCK_SIZE - size + 1).step_by(size).rev() {
            self.free_slots[class].push((page, offset));
        }
        Place { page, offset: PAGE_HEADER, class: class as u32 }
    }

    fn new_run(&mut self, count: usize) -> Place {
        let page = self.new_pages(count);
        self.put(page as usize, 0, &u64::from(LARGE).to_le_bytes());
        // A record that ends in zeroes must still reach to its last page when it is read back.
        self.dirty.extend(page..page + count as u32);
        Place { page, offset: PAGE_HEADER, class: LARGE }
    }

    /// The first of `count` pages in a row.
    fn new_pages(&mut self, count: usize) -> u32 {
        let mut begin = None;
        for page in &self.free_pages {
            let (first, length) = match begin {
                Some((first, length)) if first + length == *page => (first, length + 1),
                _ => (*page, 1),
            };
            begin = Some((first, length));
            if length as usize == count {
                self.free_pages.retain(|page| !(first..first + length).contains(page));
                return first;
            }
        }
        let first = u32::try_from(self.pages.len()).expect("a store has fewer than 2^32 pages");
        self.pages.resize_with(self.pages.len() + count, || Box::new(Block::ZERO));
        first
    }

    /// Whether there is anything to commit.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Makes all changes durable, all or none, with one sync.
    pub(crate) fn commit(
        &mut self,
        event: u64,
        operation: SnapshotOperation,
    ) -> Result<Position, CommitError> {
        if let Some(left) = self.without_room.checked_sub(1) {
            self.without_room = left;
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(CommitError::DiskFull { needed: BLOCK_SIZE as u64, source });
        }
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.open_again()?,
        };
        let pages = self.dirty.iter().map(|page| (*page, Some(self.pages[*page as usize].0.as_slice())));
        let pages = pages.collect();
        let request = CommitRequest { epoch: 0, event, roots: roots(), operation, pages };
        if let Some(left) = self.faults.checked_sub(1) {
            self.faults = left;
            if left.is_multiple_of(2) {
                store.commit(&request)?;
            }
            return Err(CommitError::Io(std::io::Error::other("injected")));
        }
        let committed = store.commit(&request);
        if !store.is_poisoned() {
            self.store = Some(store);
        }
        let position = committed?;
        self.last = (position.transaction, position.event);
        self.dirty.clear();
        Ok(position)
    }

    /// Opens the store after a commit that has failed: it is at that one or at the one before. What is in
    /// memory is newer than both, and all that may be missing on the disk counts as changed still.
    fn open_again(&mut self) -> Result<Store<FileDisk>, CommitError> {
        let failed = |reason: String| CommitError::Io(std::io::Error::other(reason));
        let disk = FileDisk::open(&self.path).map_err(|error| failed(error.to_string()))?;
        let (store, _) =
            Store::open(disk, StoreOptions::default()).map_err(|error| failed(error.to_string()))?;
        let Position { transaction, event, .. } = *store.position();
        let is_ours = store.identity() == self.identity;
        if !is_ours || !(self.last.0..=self.last.0 + 1).contains(&transaction) {
            return Err(failed(format!("{} is another store than was open", self.path.display())));
        }
        self.last = (transaction, event);
        Ok(store)
    }

    /// The number that the last commit was given.
    pub(crate) fn last_event(&self) -> u64 {
        self.last.1
    }

    pub(crate) fn snapshots(&self) -> Vec<SnapshotInfo> {
        self.store.as_ref().map(Store::snapshots).unwrap_or_default()
    }

    /// Writes what is committed into a new file, without some records.
    pub(crate) fn export(&self, path: &Path, without: &[u64]) -> Result<(), RecordsError> {
        create(path)?;
        let disk = FileDisk::open(path);
        let disk = disk.map_err(|source| RecordsError::File { path: path.to_owned(), source })?;
        let (mut store, _) = Store::open(disk, StoreOptions::default())?;
        let pages =
            self.pages.iter().enumerate().map(|(page, block)| (page as u32, Some(block.0.as_slice())));
        let pages = pages.collect();
        let (event, operation) = (self.last_event(), SnapshotOperation::None);
        store.commit(&CommitRequest { epoch: 0, event, roots: roots(), operation, pages })?;
        drop(store);
        let mut copy = Self::open(path, None)?;
        without.iter().for_each(|key| copy.remove(*key));
        copy.commit(event, SnapshotOperation::None)?;
        Ok(())
    }
}

/// What every commit says of the store.
fn roots() -> Roots {
    Roots::from([(VERSION_ROOT.to_owned(), VERSION)])
}

/// Makes an empty store: whole under its name, or not at all.
fn create(path: &Path) -> Result<(), RecordsError> {
    let failed = |source| RecordsError::File { path: path.to_owned(), source };
    let (file, disk) = NewFile::create(path).map_err(failed)?;
    let identity = Identity::new(ARENA_HEAPS.start, RESERVATION)?;
    // It is locked until it has its name.
    let _store = Store::create(disk, identity, StoreOptions::default())?;
    file.publish().map_err(failed)
}
