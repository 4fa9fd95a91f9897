//! The arena itself: a heap at a fixed address, kept in a page store.
//!
//! One thread owns an [`Arena`] (it is `Send`, not `Sync`). It may have two threads: the pager, where pages
//! come lazily, and the committer, once there is a deferred commit or a fold to write. Lock order: the
//! store's lock, or the pager's and then the store's view; heap memory may be touched under the store's lock,
//! since the pager never takes that one. Addresses stay the same for the life of the file, so the heap may
//! hold plain pointers into itself, and only into itself.

mod commit;
mod error;
#[expect(unsafe_code, reason = "to free an object by its pointer asks a promise of the caller")]
mod objects;
mod options;
mod snapshots;

use std::any::Any;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

pub use self::error::{AllocateError, ArenaError, RollbackError};
pub use self::options::{ArenaOptions, DEFAULT_BASE, DEFAULT_RESERVATION, Loading};
use crate::collections::DIRECTORY;
use crate::committer::{Committer, Queued};
use crate::disk::{BLOCK_SIZE, Disk, FileDisk, FileDiskError, NewFile};
use crate::heap::{Arrival, Heap, HeapMemory, PageRuns, PagerStatistics, Slot, Tracking};
use crate::store::{CommitError, Identity, Position, ReadError, RecoveryReport, Roots, Store};
use crate::sys::scratch_stack::Shield;
use banyan_sys::owner::Owner;

/// Begins the names of roots that hold collections, which the program cannot set by hand.
pub(crate) const TYPED: char = '\u{1}';
/// Arenas whose file has at most this many blocks in use are loaded at once when the choice is left open.
const EAGER_BLOCKS_MAX: u64 = (16 << 20) / BLOCK_SIZE as u64;

/// A collection of objects that no pointer frees, from its first step to its last: what the arena tells it.
pub(crate) trait Collector: Any + Send {
    /// An object was made: it is in use.
    fn object_is_new(&mut self, slot: Slot);

    /// Whether what it knows is still so after a rollback to the commit of that number.
    fn survives_rollback_to(&self, transaction: u64) -> bool;
}

/// A persistent heap.
pub struct Arena<D: Disk = FileDisk> {
    /// First, so that it is dropped first: it finishes what was handed over.
    committer: Committer<D>,
    heap: Heap<D>,
    store: Arc<RwLock<Store<D>>>,
    position: Position,
    roots: Roots,
    /// Pages given back since the last commit, which are zero now.
    discarded: PageRuns,
    recovery: RecoveryReport,
    /// The collection that is under way. It is in no file: a crash ends it.
    pub(crate) collector: Option<Box<dyn Collector>>,
    /// Memory that a client of the arena keeps between its calls.
    pub(crate) scratch: Option<Box<dyn Any + Send>>,
    /// A copy of this in another process is of no use there.
    owner: Owner,
    /// Raw addresses are handed out: keeps the type off several threads at once.
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl Arena<FileDisk> {
    /// Makes a new arena in a new file, durable when this returns. A crash leaves a whole arena or none.
    ///
    /// # Errors
    /// [`ArenaError`]; a file of that name is never touched, and none is made.
    pub fn create(path: &Path, options: ArenaOptions) -> Result<Self, ArenaError> {
        let failed = |source: FileDiskError| ArenaError::File { path: path.to_owned(), source };
        let identity = Identity::new(options.base, options.reservation)?;
        let (file, disk) = NewFile::create(path).map_err(failed)?;
        // It gets its name once it is known that it can be opened here.
        let arena = Self::format(disk, identity, options)?;
        file.publish().map_err(failed)?;
        Ok(arena)
    }

    /// Opens an arena at its last durable commit and loads its pages, checking each.
    ///
    /// # Errors
    /// [`ArenaError`].
    pub fn open(path: &Path, options: ArenaOptions) -> Result<Self, ArenaError> {
        let disk = FileDisk::open(path);
        let disk = disk.map_err(|source| ArenaError::File { path: path.to_owned(), source })?;
        Self::load(disk, options)
    }

    /// Opens the arena if the file is there, makes it if not.
    ///
    /// # Errors
    /// [`ArenaError`].
    pub fn open_or_create(path: &Path, options: ArenaOptions) -> Result<Self, ArenaError> {
        if path.exists() {
            return Self::open(path, options);
        }
        match Self::create(path, options) {
            // Another process was faster.
            Err(ArenaError::File { source: FileDiskError::Exists, .. }) => Self::open(path, options),
            created => created,
        }
    }
}

impl<D: Disk> Arena<D> {
    /// An arena on any disk: opens what is there.
    ///
    /// # Errors
    /// [`ArenaError`].
    pub fn load(disk: D, options: ArenaOptions) -> Result<Self, ArenaError> {
        let (store, recovery) = Store::open(disk, options.store)?;
        Self::over(store, recovery, options)
    }

    /// A new arena on any empty disk.
    ///
    /// # Errors
    /// [`ArenaError`].
    pub fn format(disk: D, identity: Identity, options: ArenaOptions) -> Result<Self, ArenaError> {
        Self::over(Store::create(disk, identity, options.store)?, RecoveryReport::default(), options)
    }

    fn over(store: Store<D>, recovery: RecoveryReport, options: ArenaOptions) -> Result<Self, ArenaError> {
        let owner = Owner::this_process().map_err(ArenaError::Memory)?;
        let identity = store.identity();
        let reserved = HeapMemory::reserve(identity.base, identity.reservation, options.tracking);
        let memory = reserved.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => ArenaError::BaseTaken { base: identity.base },
            _ => ArenaError::Memory(error),
        })?;
        let (blocks, free) = store.space();
        let lazily = Arrival::WhenTouched(options.memory_budget);
        let arrival = match options.loading {
            Loading::Eager if options.memory_budget.is_none() => Arrival::Now,
            Loading::Auto if options.memory_budget.is_none() => {
                if memory.can_page() && blocks - free > EAGER_BLOCKS_MAX { lazily } else { Arrival::Now }
            }
            _ if memory.can_page() => lazily,
            _ => return Err(ArenaError::LazyUnavailable),
        };
        let heap = Heap::load(memory, store.committed(), arrival)?;
        let (position, roots) = (store.position().clone(), store.position().roots.clone());
        let store = Arc::new(RwLock::new(store));
        Ok(Self {
            committer: Committer::new(Arc::clone(&store), owner),
            heap,
            store,
            position,
            roots,
            discarded: PageRuns::default(),
            recovery,
            collector: None,
            scratch: None,
            owner,
            not_sync: PhantomData,
        })
    }

    /// The last commit that is known to be durable: its number, epoch, event and roots.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// How written pages are found.
    pub fn tracking(&self) -> Tracking {
        self.heap.memory.tracking()
    }

    /// Whether pages come when they are touched.
    pub fn is_lazy(&self) -> bool {
        self.heap.memory.is_paged()
    }

    /// What lazy loading has done so far.
    pub fn pager_statistics(&self) -> PagerStatistics {
        self.heap.memory.pager_statistics()
    }

    /// What opening found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// The store under the heap. A deferred commit waits while it is held; it may be held more than once.
    ///
    /// # Panics
    /// In a process that was forked from the arena's.
    pub fn store(&self) -> impl Deref<Target = Store<D>> + '_ {
        self.assert_here();
        self.store.read_recursive()
    }

    /// The store under the heap, for audits and folds, with nothing under way.
    ///
    /// # Panics
    /// In a process that was forked from the arena's.
    pub fn store_mut(&mut self) -> impl DerefMut<Target = Store<D>> + '_ {
        self.assert_here();
        // What came of deferred commits is for the next call that can report it.
        let outcome = self.committer.settle(Queued::CommitsAndFolds);
        self.committer.put_back(outcome);
        self.store.write()
    }

    /// Whether an address lies in this arena.
    pub fn in_arena<T>(&self, pointer: *const T) -> bool {
        let offset = (pointer as usize).wrapping_sub(self.heap.memory.base());
        offset < self.heap.memory.length()
    }

    /// Whether this is the process that opened the arena.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.owner.is_here()
    }

    /// For what can give no error: better a panic than a signal, or a wait for a thread that is not there.
    pub(crate) fn assert_here(&self) {
        assert!(self.is_here(), "{}", CommitError::Forked);
    }

    /// Bytes in use by objects.
    ///
    /// # Panics
    /// In a process that was forked from the arena's.
    pub fn used(&self) -> u64 {
        self.assert_here();
        self.heap.allocator.used()
    }

    /// A named root: a word that the program finds its data by.
    pub fn root(&self, name: &str) -> Option<u64> {
        self.roots.get(name).copied()
    }

    /// Sets a named root; durable with the next commit, undone by a rollback.
    ///
    /// # Panics
    /// If the name begins with U+0001, as those of collections do inside, or is that of their directory.
    pub fn set_root(&mut self, name: &str, value: u64) {
        assert!(!name.starts_with(TYPED) && name != DIRECTORY, "root {name:?} belongs to a collection");
        self.set_any_root(name, value);
    }

    pub(crate) fn set_any_root(&mut self, name: &str, value: u64) {
        let _shield = Shield::new();
        self.roots.insert(name.to_owned(), value);
    }

    /// Forgets a named root.
    pub fn remove_root(&mut self, name: &str) {
        let _shield = Shield::new();
        self.roots.remove(name);
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Says that the program writes these bytes: needed with [`Tracking::Explicit`] before the commit, and
    /// with [`Tracking::Signals`] before the kernel writes there.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for memory outside the arena.
    pub fn dirty<T>(&mut self, pointer: *const T, length: usize) -> std::io::Result<()> {
        let offset = (pointer as usize).wrapping_sub(self.heap.memory.base());
        if offset.checked_add(length).is_none_or(|end| end > self.heap.memory.length()) {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        self.check_memory()?;
        self.heap.memory.note(offset, length)
    }

    /// For what gives an error of the system.
    pub(crate) fn check_memory(&self) -> std::io::Result<()> {
        if self.is_here() { Ok(()) } else { Err(std::io::Error::other(AllocateError::Forked)) }
    }

    /// Brings a range into memory and checks it, so that touching it neither waits nor fails, until it is
    /// dropped again under a memory budget. A range outside the arena, or with eager loading, is no work.
    ///
    /// # Errors
    /// [`ReadError`] names what is damaged.
    pub fn load_range(&self, address: usize, length: usize) -> Result<(), ReadError> {
        let offset = address.wrapping_sub(self.heap.memory.base());
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.heap.memory.length()) else {
            return Ok(());
        };
        if !self.is_here() {
            return Err(ReadError::Forked);
        }
        let first = offset / BLOCK_SIZE;
        self.heap.memory.load(first as u32, (end.div_ceil(BLOCK_SIZE) - first) as u64)
    }

    /// Pages written since the last commit; they stay dirty.
    ///
    /// # Errors
    /// What the write tracking says.
    pub fn dirty_pages(&mut self) -> std::io::Result<usize> {
        self.check_memory()?;
        let dirty = self.heap.take_dirty()?;
        self.heap.memory.mark_dirty(&dirty);
        Ok(dirty.len())
    }

    /// Folds the log, so that the next open has nothing to replay. A program calls it when it ends well.
    ///
    /// # Errors
    /// As [`Store::fold`].
    pub fn fold(&mut self) -> Result<(), CommitError> {
        self.settle()?;
        self.store.write().fold()
    }
}
