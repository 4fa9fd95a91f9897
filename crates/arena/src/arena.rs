//! The arena itself: a heap at a fixed address, kept in a page store.
//!
//! One thread owns an [`Arena`] (it is `Send`, not `Sync`). It may have two threads of its own: the pager, where
//! pages come lazily, and the committer, once there is a deferred commit or a fold to write. Lock order: the
//! store's lock, or the pager's and then the store's view; heap memory may be touched under the store's
//! lock, since the pager never takes that one. Addresses stay the same for the life of the file, so the heap may
//! hold plain pointers into itself, and only into itself.

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use crate::sys::scratch_stack::Shield;

use crate::allocator::{Allocator, ForeignHeap, Fresh, class_of};
use crate::collections::TYPED;
use crate::committer::{Capture, Committer, Outcome, lock};
use crate::disk::{BLOCK_SIZE, Block, Disk, FileDisk, FileDiskError};
use crate::heap::{HeapMemory, PagerStatistics, Tracking};
use crate::noun::{Cycle, Scratch, Slot, Slots};
use crate::store::{
    CommitError, CommitRequest, CreateError, Identity, OpenError, Position, ReadError, RecoveryReport, Roots,
    SnapshotHandle, SnapshotInfo, SnapshotOperation, Store, StoreOptions, roots_fit,
};

/// Default address of the heap: in no range that the kernel or a C library chooses by itself.
pub const DEFAULT_BASE: u64 = 0x1000_0000_0000;
/// Default bytes of address space.
pub const DEFAULT_RESERVATION: u64 = 1 << 40;
/// Freed objects of at least this many bytes give their pages back.
const DISCARD_MIN: usize = 1 << 20;

/// Arenas whose file has at most this many blocks in use are loaded at once when the choice is left open.
const EAGER_BLOCKS_MAX: u64 = (16 << 20) / BLOCK_SIZE as u64;

/// When the committed pages come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loading {
    /// Lazily, if the arena is large and this machine has the means, else eagerly.
    #[default]
    Auto,
    /// All of them, checked, when the arena is opened: damage is an error of the open.
    Eager,
    /// Each when it is touched: opening takes the same time whatever the arena's size, and it may be larger than
    /// memory. A page that turns out to be damaged, or cannot be read, is named on standard error, and the
    /// access to it ends in `SIGBUS`; [`Arena::load_range`] finds out beforehand.
    Lazy,
}

/// What may be chosen for an arena. The defaults suit one arena in a process.
#[derive(Clone, Copy, Debug)]
pub struct ArenaOptions {
    /// Address of the heap, for a new arena; an existing one has its own.
    pub base: u64,
    /// Bytes of address space of a new arena, at most 16 TiB. Costs nothing until used.
    pub reservation: u64,
    /// How written pages are found.
    pub tracking: Tracking,
    /// When committed pages come into memory.
    pub loading: Loading,
    /// Bytes of heap that may stay in memory, at least 4 MiB; beyond that clean pages are dropped, and come back
    /// when they are touched. Pages written since the last commit always stay. Implies lazy loading.
    pub memory_budget: Option<usize>,
    /// Options of the page store.
    pub store: StoreOptions,
}

impl Default for ArenaOptions {
    fn default() -> Self {
        Self {
            base: DEFAULT_BASE,
            reservation: DEFAULT_RESERVATION,
            tracking: Tracking::Probe,
            loading: Loading::Auto,
            memory_budget: None,
            store: StoreOptions::default(),
        }
    }
}

/// Why an arena could not be created or opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// The file could not be had.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileDiskError,
    },
    /// The store could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something else of this process lies where the heap must be.
    #[error(
        "address {base:#x} is taken in this process; open fewer arenas at a time, or export this one and import it at another base"
    )]
    BaseTaken {
        /// The heap's address.
        base: u64,
    },
    /// The heap's memory could not be had.
    #[error("the heap's memory could not be reserved")]
    Memory(#[source] std::io::Error),
    /// The pages are whole, but another version of the allocator laid the heap out.
    #[error(
        "the heap in this arena was laid out by another version; export it with that version and import it here"
    )]
    ForeignHeap,
    /// A page could not be loaded.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Pages cannot come lazily here.
    #[error(
        "lazy loading and memory budgets need userfaultfd with asynchronous write protection (Linux 6.7); open the arena with eager loading and no budget"
    )]
    LazyUnavailable,
}

/// Why a rollback failed: the heap's content is undefined, so the arena must be dropped and opened again.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The write tracking or the memory failed.
    #[error("the heap's memory could not be reset; drop the arena and open it again")]
    Memory(#[source] std::io::Error),
    /// A committed page could not be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A deferred commit had failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The heap that was read back is not one.
    #[error("the last commit holds no heap of this version; drop the arena and open it again")]
    ForeignHeap,
}

/// No room in the reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the arena's reservation has no room for {size} bytes aligned to {alignment}; free something, or export it and import it into a larger reservation"
)]
pub struct AllocateError {
    /// Bytes asked for.
    pub size: usize,
    /// Alignment asked for.
    pub alignment: usize,
}

/// A persistent heap.
pub struct Arena<D: Disk = FileDisk> {
    /// First, so that it is dropped first: it finishes what was handed over.
    committer: Committer<D>,
    memory: HeapMemory<D>,
    store: Arc<Mutex<Store<D>>>,
    position: Position,
    allocator: Allocator,
    roots: Roots,
    /// Pages given back since the last commit, which are zero now.
    discarded: BTreeSet<u32>,
    recovery: RecoveryReport,
    /// The collection of nouns that is under way. It is in no file: a crash ends it.
    pub(crate) cycle: Option<Box<Cycle>>,
    pub(crate) scratch: Option<Box<Scratch>>,
    /// Raw addresses are handed out: keeps the type off several threads at once.
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl Arena<FileDisk> {
    /// Makes a new arena in a new file, durable when this returns: it is written under another name
    /// and then renamed, so a crash leaves a whole arena or none.
    ///
    /// # Errors
    /// [`ArenaError`]; a file of that name is never touched.
    pub fn create(path: &Path, options: ArenaOptions) -> Result<Self, ArenaError> {
        let failed = |source: FileDiskError| ArenaError::File { path: path.to_owned(), source };
        let io = |error: std::io::Error| failed(FileDiskError::Io(error));
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let temporary = PathBuf::from(name);
        let mut uuid = [0; 16];
        rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| io(e.into()))?;
        let identity = Identity { uuid, base: options.base, reservation: options.reservation };
        let disk = FileDisk::create(&temporary).map_err(failed)?;
        let created =
            Store::create(disk, identity, options.store).map_err(ArenaError::from).and_then(|store| {
                // A hard link fails if the name is taken, where a rename would replace.
                std::fs::hard_link(&temporary, path).map_err(|error| match error.kind() {
                    std::io::ErrorKind::AlreadyExists => failed(FileDiskError::Exists),
                    _ => io(error),
                })?;
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let directory = std::fs::File::open(directory.unwrap_or(Path::new("."))).map_err(io)?;
                directory.sync_all().map_err(io)?;
                Ok(store)
            });
        // The second name goes in any case; failing to remove it costs a stray file, no more.
        let _stray = std::fs::remove_file(&temporary);
        Self::over(created?, RecoveryReport::default(), options)
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
        if path.exists() { Self::open(path, options) } else { Self::create(path, options) }
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
        let identity = store.identity();
        let reserved = HeapMemory::reserve(identity.base, identity.reservation, options.tracking);
        let mut memory = reserved.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => ArenaError::BaseTaken { base: identity.base },
            _ => ArenaError::Memory(error),
        })?;
        let committed = store.committed();
        let (blocks, free) = store.space();
        let lazy = match options.loading {
            Loading::Eager if options.memory_budget.is_none() => false,
            Loading::Auto if options.memory_budget.is_none() => {
                memory.can_page() && blocks - free > EAGER_BLOCKS_MAX
            }
            _ if memory.can_page() => true,
            _ => return Err(ArenaError::LazyUnavailable),
        };
        if lazy {
            let served = committed.page_bound()? as usize * BLOCK_SIZE;
            memory.page_from(committed, served, options.memory_budget).map_err(ArenaError::Memory)?;
        } else {
            committed.read_pages(committed.pages()?, &mut |page, bytes| {
                // SAFETY: the mapping is fresh and nothing refers to it yet.
                unsafe { memory.pages_mut(page, 1) }.copy_from_slice(bytes?);
                Ok::<(), ReadError>(())
            })?;
            // What was loaded is clean; what `attach` writes below is dirty again.
            memory.take_dirty().map_err(ArenaError::Memory)?;
        }
        memory.populate(0, 1);
        // SAFETY: the memory is this arena's alone, lives as long as it, and is zero or was committed by an allocator.
        let allocator = unsafe { Allocator::attach(memory.base(), memory.length()) };
        let allocator = allocator.map_err(|ForeignHeap| ArenaError::ForeignHeap)?;
        for fresh in allocator.extent() {
            if lazy {
                memory.serve_below(fresh.offset + fresh.length).map_err(ArenaError::Memory)?;
            } else {
                memory.populate(fresh.offset, fresh.length);
            }
        }
        let (position, roots) = (store.position().clone(), store.position().roots.clone());
        let (discarded, not_sync) = (BTreeSet::new(), PhantomData);
        let store = Arc::new(Mutex::new(store));
        let committer = Committer::new(Arc::clone(&store));
        Ok(Self {
            committer,
            memory,
            store,
            position,
            allocator,
            roots,
            discarded,
            recovery,
            cycle: None,
            scratch: None,
            not_sync,
        })
    }

    /// The last commit that is known to be durable: its number, epoch, event and roots.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// How written pages are found.
    pub fn tracking(&self) -> Tracking {
        self.memory.tracking()
    }

    /// Whether pages come when they are touched.
    pub fn is_lazy(&self) -> bool {
        self.memory.is_paged()
    }

    /// What lazy loading has done so far.
    pub fn pager_statistics(&self) -> PagerStatistics {
        self.memory.pager_statistics()
    }

    /// What opening found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// The store under the heap. A deferred commit waits while it is held.
    pub fn store(&self) -> impl Deref<Target = Store<D>> + '_ {
        lock(&self.store)
    }

    /// The store under the heap, for audits and folds, with nothing under way.
    pub fn store_mut(&mut self) -> impl DerefMut<Target = Store<D>> + '_ {
        // What came of deferred commits is for the next call that can tell.
        let outcome = self.committer.settle(true);
        self.committer.put_back(outcome);
        lock(&self.store)
    }

    /// Whether an address lies in this arena.
    pub fn in_arena<T>(&self, pointer: *const T) -> bool {
        let offset = (pointer as usize).wrapping_sub(self.memory.base());
        offset < self.memory.length()
    }

    /// Bytes in use by objects.
    pub fn used(&self) -> u64 {
        self.allocator.used()
    }

    /// A named root: a word that the program finds its data by.
    pub fn root(&self, name: &str) -> Option<u64> {
        self.roots.get(name).copied()
    }

    /// Sets a named root; durable with the next commit, undone by a rollback.
    ///
    /// # Panics
    /// If the name begins with U+0001, as those of collections do inside.
    pub fn set_root(&mut self, name: &str, value: u64) {
        assert!(!name.starts_with(TYPED), "root {name:?} belongs to a collection");
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

    /// Memory for an object, not zeroed. It is part of the next commit, and gone after a rollback.
    ///
    /// # Errors
    /// [`AllocateError`] if the reservation is used up, or the alignment is above 64 KiB.
    #[inline]
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocateError> {
        let memory = &mut self.memory;
        let address = self.allocator.allocate(layout, &mut |Fresh { offset, length }| {
            // What lies outside of the heap is not undone if an event is stopped here.
            let _shield = Shield::new();
            memory.populate(offset, length);
        });
        let pointer = address.and_then(|at| NonNull::new(std::ptr::with_exposed_provenance_mut(at)));
        pointer.ok_or(AllocateError { size: layout.size(), alignment: layout.align() })
    }

    /// Memory for a noun, and where it lies for the collector. Nouns are never freed by hand.
    #[inline]
    pub(crate) fn allocate_noun(&mut self, size: usize) -> Result<(NonNull<u8>, Slot), AllocateError> {
        let memory = &mut self.memory;
        let found = self.allocator.allocate_noun(size, &mut |Fresh { offset, length }| {
            let _shield = Shield::new();
            memory.populate(offset, length);
        });
        let (address, slot) = found.ok_or(AllocateError { size, alignment: 16 })?;
        let pointer = NonNull::new(std::ptr::with_exposed_provenance_mut(address));
        Ok((pointer.ok_or(AllocateError { size, alignment: 16 })?, slot))
    }

    /// Memory for one noun or more of a size, which is that of a small one; for no more than `most`, which is at least 1.
    pub(crate) fn allocate_nouns(&mut self, size: usize, most: usize) -> Result<Slots, AllocateError> {
        let memory = &mut self.memory;
        let found = self.allocator.allocate_nouns(class_of(size), most, &mut |Fresh { offset, length }| {
            let _shield = Shield::new();
            memory.populate(offset, length);
        });
        found.ok_or(AllocateError { size, alignment: 16 })
    }

    pub(crate) fn allocator(&self) -> &Allocator {
        &self.allocator
    }
    pub(crate) fn allocator_mut(&mut self) -> &mut Allocator {
        &mut self.allocator
    }
    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Gives an object's memory back.
    ///
    /// # Safety
    /// The pointer came from [`Arena::allocate`] of this arena, in this or an earlier process, with this
    /// layout; it was not freed since, and nobody uses it any more.
    pub unsafe fn free(&mut self, pointer: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller promises.
        let freed = unsafe { self.allocator.free(pointer.as_ptr() as usize, layout) };
        if let Some(freed) = freed.filter(|fresh| fresh.length >= DISCARD_MIN) {
            // SAFETY: the object is free, so nobody refers to its pages.
            unsafe { self.discard(freed) };
        }
    }

    /// Gives the pages of free memory back; they are zero in the next commit.
    ///
    /// # Safety
    /// Nobody refers to the range, which is whole pages.
    pub(crate) unsafe fn discard(&mut self, Fresh { offset, length }: Fresh) {
        let _shield = Shield::new();
        let (page, count) = ((offset / BLOCK_SIZE) as u32, length / BLOCK_SIZE);
        // SAFETY: as the caller promises.
        if unsafe { self.memory.discard(page, count) }.is_ok() {
            self.discarded.extend(page..page + count as u32);
        }
    }

    /// Changes the size of an object, moving it if it must.
    ///
    /// # Safety
    /// As for [`Arena::free`]; the old pointer is dead if this succeeds.
    ///
    /// # Errors
    /// [`AllocateError`]; the object is then as it was.
    pub unsafe fn reallocate(
        &mut self,
        pointer: NonNull<u8>,
        old: Layout,
        size: usize,
    ) -> Result<NonNull<u8>, AllocateError> {
        let error = AllocateError { size, alignment: old.align() };
        let new = Layout::from_size_align(size, old.align()).map_err(|_| error)?;
        // The same place serves only if it would also be freed the same way.
        if Allocator::capacity(old) == Allocator::capacity(new) {
            return Ok(pointer);
        }
        let moved = self.allocate(new)?;
        // SAFETY: both objects are live, distinct, and have at least the smaller size.
        unsafe {
            std::ptr::copy_nonoverlapping(pointer.as_ptr(), moved.as_ptr(), old.size().min(size));
            self.free(pointer, old);
        }
        Ok(moved)
    }

    /// Makes everything durable: the heap, the roots, and these numbers. All or nothing, one sync.
    ///
    /// # Errors
    /// As [`Store::commit`]. After [`CommitError::DiskFull`] the heap is as the program left it and
    /// may be committed again.
    pub fn commit(&mut self, epoch: u64, event: u64) -> Result<Position, CommitError> {
        self.commit_with(epoch, event, SnapshotOperation::None)
    }

    /// Commits, and retains that commit under a name. Costs what the commit costs.
    ///
    /// # Errors
    /// As [`Arena::commit`], and [`CommitError::SnapshotExists`].
    pub fn snapshot(&mut self, name: &str, epoch: u64, event: u64) -> Result<Position, CommitError> {
        self.commit_with(epoch, event, SnapshotOperation::Retain(name.to_owned()))
    }

    /// Commits, and forgets a snapshot. Its space is free again after the next fold but one.
    ///
    /// # Errors
    /// As [`Arena::commit`], [`CommitError::NoSuchSnapshot`] and [`CommitError::SnapshotInUse`].
    pub fn drop_snapshot(&mut self, name: &str) -> Result<Position, CommitError> {
        let Position { epoch, event, .. } = *self.position();
        self.commit_with(epoch, event, SnapshotOperation::Drop(name.to_owned()))
    }

    /// Hands everything over to be made durable, in order, and returns as soon as it is copied: the program
    /// goes on while it is written. [`Arena::wait`] tells when it is durable. Until then a crash may lose it, never a
    /// part of it, nor an earlier one alone.
    ///
    /// # Errors
    /// That of an earlier deferred commit, which did not happen, nor did those behind it: what they held is
    /// dirty again, and part of the next commit.
    pub fn begin_commit(&mut self, epoch: u64, event: u64) -> Result<(), CommitError> {
        let outcome = self.committer.poll();
        self.take_in(outcome)?;
        if !roots_fit(&self.roots) {
            return Err(CommitError::RootsTooLarge);
        }
        let dirty = self.take_dirty().map_err(CommitError::Io)?;
        // SAFETY: `self` is borrowed while the pages are copied, so the program cannot write.
        let page = |at: usize| unsafe { self.memory.page(dirty[at]) };
        let blocks = self.committer.copy(dirty.len(), &page);
        let mut pages: Vec<(u32, bool)> = dirty.iter().map(|page| (*page, true)).collect();
        let discarded = std::mem::take(&mut self.discarded);
        if !discarded.is_empty() {
            let zero = discarded.into_iter().filter(|page| dirty.binary_search(page).is_err());
            pages.extend(zero.map(|page| (page, false)).collect::<Vec<_>>());
            pages.sort_unstable();
        }
        let number = self.memory.captured();
        let (roots, operation) = (self.roots.clone(), SnapshotOperation::None);
        self.committer
            .commit(Capture { epoch, event, roots, operation, pages, blocks, number })
            .map_err(CommitError::Io)
    }

    /// Waits until every deferred commit is durable, and gives the last one's position.
    ///
    /// # Errors
    /// As [`Arena::begin_commit`].
    pub fn wait(&mut self) -> Result<&Position, CommitError> {
        let outcome = self.committer.settle(false);
        self.take_in(outcome)?;
        Ok(&self.position)
    }

    /// Acts on what the committer tells.
    fn take_in(&mut self, outcome: Outcome) -> Result<(), CommitError> {
        if let Some(position) = outcome.position {
            self.position = position;
        }
        if let Some((number, pages)) = outcome.accepted {
            self.memory.accepted(number, pages).map_err(CommitError::Io)?;
        }
        for (page, full) in outcome.returned {
            if full {
                self.memory.mark_dirty(&[page]);
            } else {
                self.discarded.insert(page);
            }
        }
        outcome.error.map_or(Ok(()), Err)
    }

    fn take_dirty(&mut self) -> std::io::Result<Vec<u32>> {
        if self.memory.tracking() == Tracking::Explicit {
            let mut own = Vec::new();
            self.allocator.own_ranges(&mut |range| own.push(range));
            for Fresh { offset, length } in own {
                self.memory.compare(offset, length)?;
            }
        }
        self.memory.take_dirty()
    }

    fn commit_with(
        &mut self,
        epoch: u64,
        event: u64,
        operation: SnapshotOperation,
    ) -> Result<Position, CommitError> {
        let outcome = self.committer.settle(false);
        self.take_in(outcome)?;
        let dirty = self.take_dirty().map_err(CommitError::Io)?;
        let mut pages: Vec<(u32, Option<&[u8]>)> = Vec::with_capacity(dirty.len() + self.discarded.len());
        for page in &dirty {
            // SAFETY: `self` is borrowed for as long as the slices live, so the program cannot write.
            pages.push((*page, Some(unsafe { self.memory.page(*page) })));
        }
        if !self.discarded.is_empty() {
            let zero = self.discarded.iter().filter(|page| dirty.binary_search(page).is_err());
            pages.extend(zero.map(|page| (*page, None)));
            pages.sort_unstable_by_key(|(page, _)| *page);
        }
        let request = CommitRequest { epoch, event, roots: self.roots.clone(), operation, pages };
        let mut store = lock(&self.store);
        match store.commit_record(&request) {
            Ok(position) => {
                let (wants_fold, overdue) = (store.wants_fold(), store.fold_is_overdue());
                drop(store);
                self.position = position.clone();
                self.discarded.clear();
                let number = self.memory.captured();
                // The commit is durable: what fails from here on is told by the next call.
                let kept = self.memory.accepted(number, dirty.len());
                let begun = if wants_fold { self.committer.fold() } else { Ok(()) };
                let waited = if overdue { self.committer.settle(true) } else { Outcome::default() };
                let error = waited.error.or(kept.and(begun).err().map(CommitError::Io));
                self.committer.put_back(Outcome { error, ..waited });
                Ok(position)
            }
            Err(error) => {
                drop(store);
                self.memory.mark_dirty(&dirty);
                Err(error)
            }
        }
    }

    /// Undoes everything since the last commit: memory, roots, allocations. Costs what was written.
    ///
    /// The last commit is the last one begun, deferred or not. Every reference into the heap must be
    /// fetched anew from a root, which the borrow of `self` ensures for the typed API; raw pointers are the caller's
    /// business.
    ///
    /// # Errors
    /// [`RollbackError`]; the arena must then be dropped.
    pub fn rollback(&mut self) -> Result<(), RollbackError> {
        let outcome = self.committer.settle(false);
        self.take_in(outcome)?;
        let mut dirty: BTreeSet<u32> =
            self.take_dirty().map_err(RollbackError::Memory)?.into_iter().collect();
        dirty.append(&mut self.discarded);
        let dirty: Vec<u32> = dirty.into_iter().collect();
        if self.memory.is_paged() {
            // SAFETY: the program holds no reference into the heap while it is borrowed here; see above.
            unsafe { self.memory.restore(&dirty) }.map_err(RollbackError::Memory)?;
        } else {
            self.reload(&dirty)?;
        }
        self.roots = self.position().roots.clone();
        // What was just restored is clean.
        self.take_dirty().map_err(RollbackError::Memory)?;
        // SAFETY: as in `over`: the memory is what a commit held, or zero if there was none.
        let attached = unsafe { Allocator::attach(self.memory.base(), self.memory.length()) };
        self.allocator = attached.map_err(|ForeignHeap| RollbackError::ForeignHeap)?;
        self.abandon_collection_since(self.position().transaction);
        Ok(())
    }

    /// Reads pages back as they were committed.
    fn reload(&mut self, pages: &[u32]) -> Result<(), RollbackError> {
        let committed = lock(&self.store).committed();
        let mut entries = Vec::with_capacity(pages.len());
        for page in pages {
            match committed.locate(*page)? {
                Some(entry) => entries.push((*page, entry)),
                // SAFETY: as in `rollback`.
                None => unsafe { self.memory.discard(*page, 1) }.map_err(RollbackError::Memory)?,
            }
        }
        committed.read_pages(entries, &mut |page, bytes| {
            // SAFETY: as in `rollback`.
            unsafe { self.memory.pages_mut(page, 1) }.copy_from_slice(bytes?);
            Ok::<(), RollbackError>(())
        })
    }

    /// Says that the program writes these bytes: needed with [`Tracking::Explicit`] before the commit, and with
    /// [`Tracking::Signals`] before the kernel writes there.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for memory outside the arena.
    pub fn dirty<T>(&mut self, pointer: *const T, length: usize) -> std::io::Result<()> {
        let offset = (pointer as usize).wrapping_sub(self.memory.base());
        if offset.checked_add(length).is_none_or(|end| end > self.memory.length()) {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        self.memory.note(offset, length)
    }

    /// Brings a range into memory and checks it, so that touching it neither waits nor fails, until it is
    /// dropped again under a memory budget. A range outside the arena, or with eager loading, is no work.
    ///
    /// # Errors
    /// [`ReadError`] names what is damaged.
    pub fn load_range(&self, address: usize, length: usize) -> Result<(), ReadError> {
        let offset = address.wrapping_sub(self.memory.base());
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.memory.length()) else {
            return Ok(());
        };
        let first = offset / BLOCK_SIZE;
        self.memory.load(first as u32, (end.div_ceil(BLOCK_SIZE) - first) as u32)
    }

    /// Pages written since the last commit; they stay dirty.
    ///
    /// # Errors
    /// What the write tracking says.
    pub fn dirty_pages(&mut self) -> std::io::Result<usize> {
        let dirty = self.take_dirty()?;
        self.memory.mark_dirty(&dirty);
        Ok(dirty.len())
    }

    /// The snapshots that are retained, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        lock(&self.store).snapshots()
    }

    /// Opens a snapshot for reading; close it with [`Arena::close_snapshot`].
    ///
    /// # Errors
    /// As [`Store::open_snapshot`].
    pub fn open_snapshot(&mut self, name: &str) -> Result<SnapshotHandle, CommitError> {
        self.settle()?;
        lock(&self.store).open_snapshot(name)
    }

    /// Waits for all that is under way.
    fn settle(&mut self) -> Result<(), CommitError> {
        let outcome = self.committer.settle(true);
        self.take_in(outcome)
    }

    /// Gives a snapshot back.
    pub fn close_snapshot(&mut self, snapshot: &SnapshotHandle) {
        lock(&self.store).close_snapshot(snapshot);
    }

    /// Copies bytes of a snapshot, from the address that they had in the heap. Checked as they are read.
    ///
    /// # Errors
    /// [`ReadError`]. Addresses outside the heap read as zero.
    pub fn read_snapshot(
        &self,
        snapshot: &SnapshotHandle,
        address: usize,
        buffer: &mut [u8],
    ) -> Result<(), ReadError> {
        let store = lock(&self.store);
        let mut block = Block::ZERO;
        let mut done = 0;
        while done < buffer.len() {
            let offset = (address + done).wrapping_sub(self.memory.base());
            let within = offset % BLOCK_SIZE;
            let count = (BLOCK_SIZE - within).min(buffer.len() - done);
            let page = u32::try_from(offset / BLOCK_SIZE).ok();
            match page.map(|page| store.locate_in(snapshot, page)).transpose()?.flatten() {
                Some(entry) => {
                    store.read_entry((offset / BLOCK_SIZE) as u32, entry, &mut block.0)?;
                    buffer[done..done + count].copy_from_slice(&block.0[within..within + count]);
                }
                None => buffer[done..done + count].fill(0),
            }
            done += count;
        }
        Ok(())
    }

    /// Numbers of the pages that differ between two snapshots. Costs what differs.
    ///
    /// # Errors
    /// As [`Store::open_snapshot`], or [`CommitError::Read`].
    pub fn diff(&mut self, old: &str, new: &str) -> Result<Vec<u32>, CommitError> {
        self.settle()?;
        let mut store = lock(&self.store);
        let old = store.open_snapshot(old)?;
        let new = store.open_snapshot(new);
        let changed = match &new {
            Ok(new) => store.diff(&old, new),
            Err(_) => Ok(Vec::new()),
        };
        store.close_snapshot(&old);
        store.close_snapshot(&new?);
        Ok(changed?.into_iter().map(|(page, _)| page).collect())
    }

    /// Folds the log, so that the next open has nothing to replay. A program calls it when it ends well.
    ///
    /// # Errors
    /// As [`Store::fold`].
    pub fn fold(&mut self) -> Result<(), CommitError> {
        self.settle()?;
        lock(&self.store).fold()
    }
}
