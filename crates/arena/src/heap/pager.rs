//! Lazy loading and eviction: committed pages come into memory when they are touched, and clean ones leave
//! it when there are more than a budget allows. Dirty pages never leave.
//!
//! One thread serves the faults of the heap; it must touch no heap page itself. The heap below
//! `served` is registered for faults; above it lies memory that no commit has filled, which comes by itself.
//!
//! Eviction must not lose a write that races with it, so a page is first *moved* out of the heap
//! (UFFDIO_MOVE): a thread that touches it from then on waits for the one that is doing this. Then it is
//! compared with the checksum of its commit, and put back if it differs. Where the kernel cannot move pages,
//! they leave only while the program waits in a call of the arena.
//!
//! Lock order: `state`, then the store's view. The program's thread takes `state` to give pages back.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::sys::demand_paging::DemandPaging;
use crate::sys::mapping::Mapping;
use banyan_sys::owner::Owner;

use super::chunks::{CHUNK, Chunks, Run};
use super::page_runs::PageRuns;
use banyan_wire::address_space::ARENA_STAGINGS;
use parking_lot::{Mutex, MutexGuard};

use crate::disk::{BLOCK_SIZE, Block, Disk};
use crate::store::{Committed, PageEntry, ReadError, is_zero, page_checksum};

/// Pages that a fault which follows on the one before brings in at most.
const WINDOW_MAX: u32 = 256;
/// Pages that any fault brings in if they lie together in the file.
const WINDOW_MIN: u32 = 16;
const CHUNK_PAGES: u32 = (CHUNK / BLOCK_SIZE) as u32;
/// Times that a page is looked up again because it moved while it was read.
const RETRIES_MAX: usize = 3;
/// First address of the places where pages are looked at before they are dropped, and room between two.
const STAGING: usize = ARENA_STAGINGS.start as usize;
const STAGINGS_MAX: usize = 4096;
const _: () = assert!((STAGINGS_MAX * 2 * CHUNK) as u64 <= ARENA_STAGINGS.bytes());

/// What the pager has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagerStatistics {
    /// Faults that it served.
    pub faults: u64,
    /// Pages read for them.
    pub loaded: u64,
    /// Clean pages that it dropped.
    pub evicted: u64,
    /// Pages that were written just as they were to be dropped, and stayed.
    pub kept: u64,
}

#[derive(Default)]
struct Counters {
    faults: AtomicU64,
    loaded: AtomicU64,
    evicted: AtomicU64,
    kept: AtomicU64,
}

struct State {
    /// Offset below which missing pages are served.
    served: usize,
    /// Pages that are zero although the newest commit may say otherwise, since which capture.
    discarded: PageRuns,
    /// Captures so far: what was given back before one of them is part of it.
    captures: u64,
    /// Chunks in memory, oldest first.
    queue: VecDeque<usize>,
    queued: HashSet<usize>,
    /// Pages in memory; a bound from above between two counts.
    resident: usize,
    /// Pages from which on eviction is worth a try: above the budget while too much is dirty.
    threshold: usize,
    /// Where the last window ended, and its size.
    sequential: (u32, u32),
}

struct Shared<D> {
    committed: Arc<Committed<D>>,
    pages: Arc<DemandPaging>,
    base: usize,
    length: usize,
    chunks: Arc<Chunks>,
    /// Pages that may be in memory at a time.
    budget: Option<usize>,
    staging: Mapping,
    state: Mutex<State>,
    counters: Counters,
}

/// What a fault brings in beside its page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Window {
    /// What lies beside it in the file too, in the same read.
    Near,
    /// All of the window, as far as it can be read.
    Ahead,
    /// All of it, or an error.
    All,
}

/// What the program does while pages are dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    /// It may write to them.
    Runs,
    /// It waits in a call of the arena.
    Waits,
}

/// What a window is to be filled with.
#[derive(Default)]
struct Wanted {
    /// Pages to read.
    pages: Vec<(u32, PageEntry)>,
    /// Runs of pages that are zero: first and count.
    zeroes: Vec<(u32, u32)>,
}

/// The pager of one heap.
pub(crate) struct Pager<D> {
    shared: Arc<Shared<D>>,
    thread: Option<JoinHandle<()>>,
    /// Closed to stop the thread.
    stop: Option<OwnedFd>,
    owner: Owner,
}

impl<D: Disk> Pager<D> {
    /// Serves `[base, base + served)` from now on. `mapping` must outlive the pager.
    pub(crate) fn start(
        committed: Arc<Committed<D>>,
        pages: Arc<DemandPaging>,
        mapping: &Mapping,
        chunks: Arc<Chunks>,
        served: usize,
        budget: Option<usize>,
    ) -> io::Result<Self> {
        let owner = Owner::this_process()?;
        let staging = reserve_staging()?;
        pages.serve(staging.base(), staging.length())?;
        let state = State {
            served: 0,
            discarded: PageRuns::default(),
            captures: 1,
            queue: VecDeque::new(),
            queued: HashSet::new(),
            resident: 0,
            threshold: 0,
            sequential: (0, 0),
        };
        let shared = Arc::new(Shared {
            committed,
            pages,
            base: mapping.base(),
            length: mapping.length(),
            chunks,
            budget: budget.map(|bytes| (bytes / BLOCK_SIZE).max(2 * CHUNK_PAGES as usize)),
            staging,
            state: Mutex::new(state),
            counters: Counters::default(),
        });
        shared.serve_below(&mut shared.state(), served)?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let serving = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("arena pager".to_owned());
        let thread = builder.spawn(move || {
            // A handler of the program might touch the heap, and would wait for its own thread.
            crate::sys::demand_paging::block_signals();
            // A fault that is not served would be a thread that hangs forever: better to end.
            let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serving.run(&stopped)));
            if !matches!(served, Ok(Ok(()))) {
                eprintln!("arena: the pager failed, and the process cannot go on without it: {served:?}");
                std::process::abort();
            }
        })?;
        Ok(Self { shared, thread: Some(thread), stop: Some(stop), owner })
    }

    pub(crate) fn statistics(&self) -> PagerStatistics {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PagerStatistics {
            faults: read(&counters.faults),
            loaded: read(&counters.loaded),
            evicted: read(&counters.evicted),
            kept: read(&counters.kept),
        }
    }

    /// Until this is dropped no page leaves the heap, and none comes.
    pub(crate) fn keep_pages(&self) -> impl Drop + '_ {
        self.shared.state()
    }

    /// Serves everything below an offset from now on.
    pub(crate) fn serve_below(&self, offset: usize) -> io::Result<()> {
        self.shared.serve_below(&mut self.shared.state(), offset)
    }

    /// Makes pages read as zero, whatever is committed. No reference may lead to them.
    pub(crate) fn discard(
        &self,
        pages: std::ops::Range<u64>,
        apply: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.shared.state();
        let capture = state.captures;
        state.discarded.insert(pages, capture);
        apply()
    }

    /// Drops pages, which come back as they were committed.
    pub(crate) fn restore(&self, pages: &[u32], apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.shared.state();
        if let Some(last) = pages.iter().max() {
            self.shared.serve_below(&mut state, (*last as usize + 1) * BLOCK_SIZE)?;
        }
        state.discarded.clear();
        apply()
    }

    /// The changes so far are in a capture; gives its number.
    pub(crate) fn captured(&self) -> u64 {
        let mut state = self.shared.state();
        state.captures += 1;
        state.captures - 1
    }

    /// A capture is committed: what was given back before it is zero in the store too.
    pub(crate) fn accepted(&self, capture: u64) {
        self.shared.state().discarded.retain_since(|since| since > capture);
    }

    /// `written` pages were committed. Drops clean pages if there are too many; the program must be waiting.
    pub(crate) fn enforce(&self, written: usize) -> io::Result<()> {
        let Some(budget) = self.shared.budget else { return Ok(()) };
        let mut state = self.shared.state();
        state.resident += written;
        // What was dirty is clean now.
        state.threshold = 0;
        if state.resident > budget {
            let chunks: Vec<usize> = self.shared.chunks.iter().collect();
            for chunk in chunks {
                if state.queued.insert(chunk) {
                    state.queue.push_back(chunk);
                }
            }
            self.shared.count(&mut state)?;
            self.shared.evict(&mut state, Program::Waits)?;
        }
        Ok(())
    }

    /// Reads a run of pages into memory and checks them, so that touching them cannot fail.
    pub(crate) fn load(&self, first: u32, count: u64) -> Result<(), ReadError> {
        let mut state = self.shared.state();
        let (mut page, mut left) = (first, count);
        while left > 0 {
            let part = left.min(u64::from(WINDOW_MAX)) as u32;
            self.shared.install(&mut state, page, part, Window::All)?;
            // The end of the largest heap has no number.
            page = page.wrapping_add(part);
            left -= u64::from(part);
        }
        Ok(())
    }
}

impl<D> Drop for Pager<D> {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            // A forked process: the thread is not there.
            std::mem::forget(self.thread.take());
            return;
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread returns only on success: on an error it ends the process.
            let _ended = thread.join();
        }
    }
}

/// A chunk of address space that nothing else uses.
fn reserve_staging() -> io::Result<Mapping> {
    let mut last = io::ErrorKind::AlreadyExists.into();
    for number in 0..STAGINGS_MAX {
        match Mapping::reserve(STAGING + number * 2 * CHUNK, CHUNK) {
            Ok(staging) => return Ok(staging),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl<D: Disk> Shared<D> {
    fn state(&self) -> MutexGuard<'_, State> {
        // If a thread panicked in between, it was the program's in a call that only adds entries.
        self.state.lock()
    }

    fn page_of(&self, address: usize) -> u32 {
        ((address - self.base) / BLOCK_SIZE) as u32
    }

    fn address_of(&self, page: u32) -> usize {
        self.base + page as usize * BLOCK_SIZE
    }

    fn serve_below(&self, state: &mut State, offset: usize) -> io::Result<()> {
        let offset = offset.next_multiple_of(CHUNK).min(self.length);
        if offset > state.served {
            self.pages.serve(self.base + state.served, offset - state.served)?;
            state.served = offset;
        }
        Ok(())
    }

    fn run(&self, stopped: &OwnedFd) -> io::Result<()> {
        while let Some(address) = self.pages.next_fault(stopped.as_fd())? {
            self.counters.faults.fetch_add(1, Ordering::Relaxed);
            if !(self.base..self.base + self.length).contains(&address) {
                // Only this thread touches the staging place, and it knows what is there.
                self.pages.provide_zeroes(address, BLOCK_SIZE)?;
                continue;
            }
            let mut state = self.state();
            let page = self.page_of(address);
            let sequential = state.sequential.0 == page;
            let window =
                if sequential { (state.sequential.1 * 2).clamp(WINDOW_MIN, WINDOW_MAX) } else { WINDOW_MIN };
            let until_chunk_ends = CHUNK_PAGES - page % CHUNK_PAGES;
            let window = window.min(until_chunk_ends);
            // Behind the last page of the largest heap comes none.
            state.sequential = (page.wrapping_add(window), window);
            let kind = if sequential { Window::Ahead } else { Window::Near };
            if let Err(error) = self.install(&mut state, page, window, kind) {
                // There is nothing to show for this page, and a thread waits for it.
                eprintln!("arena: page {page}, at address {address:#x}, cannot be loaded: {error}");
                if !self.pages.poison(address, BLOCK_SIZE)? {
                    std::process::abort();
                }
            }
            if self.budget.is_some_and(|budget| state.resident > budget.max(state.threshold)) {
                self.count(&mut state)?;
                self.evict(&mut state, Program::Runs)?;
            }
        }
        Ok(())
    }

    /// Brings the first page of a run into memory, and more of the run as the window says.
    fn install(&self, state: &mut State, first: u32, count: u32, window: Window) -> Result<(), ReadError> {
        let chunk = (first / CHUNK_PAGES) as usize;
        self.chunks.add(first as usize * BLOCK_SIZE, count as usize * BLOCK_SIZE);
        self.chunks.set_fuller(first as usize * BLOCK_SIZE, count as usize * BLOCK_SIZE);
        if state.queued.insert(chunk) {
            state.queue.push_back(chunk);
        }
        let mut failed = None;
        for _ in 0..=RETRIES_MAX {
            let Wanted { pages, zeroes } = self.wanted(state, first, count, window)?;
            for (page, count) in zeroes {
                self.pages.provide_zeroes(self.address_of(page), count as usize * BLOCK_SIZE)?;
            }
            failed = None;
            self.committed.read_pages(pages, &mut |page, bytes| {
                match bytes {
                    Ok(bytes) => {
                        let installed = self.pages.provide(self.address_of(page), bytes)?;
                        state.resident += installed;
                        self.counters.loaded.fetch_add(installed as u64, Ordering::Relaxed);
                    }
                    Err(error) if page == first || window == Window::All => failed = Some(error),
                    // This one was not asked for yet: its own fault will say so.
                    Err(_) => {}
                }
                Ok::<(), io::Error>(())
            })?;
            if failed.is_none() {
                break;
            }
            // A page that was committed anew since it was looked up has moved: once more.
        }
        failed.map_or(Ok(()), Err)
    }

    /// The pages of a run to read, and the runs to be zero.
    fn wanted(&self, state: &State, first: u32, count: u32, window: Window) -> Result<Wanted, ReadError> {
        let entries = self.committed.locate_run(first, count)?;
        let mut there = HashSet::new();
        let (start, length) = (self.address_of(first), count as usize * BLOCK_SIZE);
        self.pages.written().resident(start, length, &mut |at, bytes| {
            there.extend((at..at + bytes).step_by(BLOCK_SIZE).map(|at| self.page_of(at)));
        })?;
        let entry_of = |page: u32, entry: &Option<PageEntry>| {
            entry.filter(|_| !state.discarded.contains(u64::from(page)))
        };
        let demanded = entry_of(first, &entries[0]);
        let Wanted { mut pages, mut zeroes } = Wanted::default();
        for (page, entry) in (first..=u32::MAX).zip(&entries) {
            if page != first && there.contains(&page) {
                continue;
            }
            match (entry_of(page, entry), demanded) {
                (Some(entry), Some(demanded))
                    if window != Window::Near
                        || entry.block.abs_diff(demanded.block) < u64::from(WINDOW_MIN) =>
                {
                    pages.push((page, entry));
                }
                (Some(entry), None) if window != Window::Near => pages.push((page, entry)),
                (None, _) if page == first || window != Window::Near => match zeroes.last_mut() {
                    Some((at, count)) if *at + *count == page => *count += 1,
                    _ => zeroes.push((page, 1)),
                },
                _ => {}
            }
        }
        Ok(Wanted { pages, zeroes })
    }

    /// Counts the pages in memory.
    fn count(&self, state: &mut State) -> io::Result<()> {
        let mut resident = 0;
        for Run { start, end, .. } in self.chunks.runs(self.length) {
            self.pages
                .written()
                .resident(self.base + start, end - start, &mut |_, bytes| resident += bytes / BLOCK_SIZE)?;
        }
        state.resident = resident;
        Ok(())
    }

    /// Drops clean pages, those of the chunks that came first, until an eighth of the budget is free.
    fn evict(&self, state: &mut State, program: Program) -> io::Result<()> {
        let Some(budget) = self.budget else { return Ok(()) };
        let goal = budget - budget / 8;
        for _ in 0..state.queue.len() {
            if state.resident <= goal {
                break;
            }
            let Some(chunk) = state.queue.pop_front() else { break };
            state.queued.remove(&chunk);
            self.serve_below(state, (chunk + 1) * CHUNK)?;
            let dropped = self.evict_chunk(chunk, &state.discarded, program)?;
            state.resident -= dropped.min(state.resident);
            self.counters.evicted.fetch_add(dropped as u64, Ordering::Relaxed);
            let mut left = 0;
            let (start, length) = self.chunk_range(chunk);
            self.pages.written().resident(start, length, &mut |_, bytes| left += bytes)?;
            if left == 0 {
                self.chunks.remove(chunk);
            } else if state.queued.insert(chunk) {
                state.queue.push_back(chunk);
            }
        }
        state.threshold = if state.resident > goal { state.resident + budget / 16 } else { 0 };
        Ok(())
    }

    fn chunk_range(&self, chunk: usize) -> (usize, usize) {
        (self.base + chunk * CHUNK, CHUNK.min(self.length - chunk * CHUNK))
    }

    /// Drops the clean pages of a chunk and gives their number. A discarded page comes back as zero, also
    /// when what was written there since is committed already and the program has not heard of it.
    fn evict_chunk(&self, chunk: usize, discarded: &PageRuns, program: Program) -> io::Result<usize> {
        let (start, length) = self.chunk_range(chunk);
        self.chunks.set_holed(chunk * CHUNK, length);
        let mut clean = Vec::new();
        self.pages.written().clean(start, length, &mut |at, bytes| clean.push((at, bytes)))?;
        if clean.is_empty() {
            return Ok(0);
        }
        let first = (chunk as u32) * CHUNK_PAGES;
        // A directory that cannot be read keeps its pages in memory.
        let Ok(entries) = self.committed.locate_run(first, CHUNK_PAGES) else { return Ok(0) };
        let is_committed = |address: usize, at: usize| {
            // SAFETY: the page is mapped and no other thread writes it: it lies in the staging place, or the
            // program waits.
            let page = unsafe {
                std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), BLOCK_SIZE)
            };
            let index = (at - start) / BLOCK_SIZE;
            match entries[index].filter(|_| !discarded.contains(u64::from(first) + index as u64)) {
                Some(entry) => page_checksum(page) == entry.checksum,
                None => is_zero(page),
            }
        };
        let mut dropped = 0;
        for (at, bytes) in clean {
            let staged = self.staging.base() + (at - start);
            // SAFETY: the staging place is this thread's or, under the state's lock, the caller's; the heap's
            // pages come back through faults.
            let moved = unsafe { self.pages.move_pages(staged, at, bytes)? };
            if !moved && program == Program::Runs {
                // Whatever did move goes back.
                // SAFETY: as above, the other way round.
                unsafe { self.pages.move_pages(at, staged, bytes)? };
                return Ok(dropped);
            }
            for offset in (0..bytes).step_by(BLOCK_SIZE) {
                let (heap, staged) = (at + offset, staged + offset);
                let place = if moved { staged } else { heap };
                if is_committed(place, heap) {
                    if !moved {
                        // SAFETY: the page equals its commit and comes back through a fault; the program
                        // waits.
                        unsafe { drop_page(heap)? };
                    }
                    dropped += 1;
                } else {
                    self.counters.kept.fetch_add(1, Ordering::Relaxed);
                    if moved {
                        // SAFETY: nothing relies on the hole at the old place but through a fault.
                        unsafe { self.pages.move_pages(heap, staged, BLOCK_SIZE)? };
                        self.pages.wake(heap, BLOCK_SIZE)?;
                    }
                }
            }
            if moved {
                // SAFETY: no reference leads to the staging place.
                unsafe { self.staging.discard(at - start, bytes)? };
            }
        }
        Ok(dropped)
    }
}

/// Drops one page of the heap.
///
/// # Safety
/// Nothing relies on its content but through a fault.
unsafe fn drop_page(address: usize) -> io::Result<()> {
    let pointer = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: as the caller promises.
    unsafe { rustix::mm::madvise(pointer, BLOCK_SIZE, rustix::mm::Advice::LinuxDontNeed) }.map_err(Into::into)
}

/// Buffers of pages must be aligned as pages are.
const _: () = assert!(align_of::<Block>() == BLOCK_SIZE);
