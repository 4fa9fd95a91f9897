//! The thread behind an arena: deferred commits and folds are written while the program goes on.
//!
//! A deferred commit is a copy of the dirty pages; the thread makes them durable in the order in which they
//! were handed over. After a failure nothing that was handed over later is written: all their pages go back
//! to the arena, which takes them for dirty again, and its next call returns the error.
//!
//! The thread is started at the first job, and ended with the arena once its jobs are done. Where none can be
//! started, the program does without: commits and folds are then its own work.
//! Lock order: `state` and the store's lock are never held together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use crate::disk::{Block, Disk};
use crate::store::{CommitError, CommitRequest, Position, Roots, SnapshotOperation, Store, let_readers_in};
use crate::sys::page_copy::copy_in_pieces;
use crate::sys::work_sharing::{SharedWork, share};
use banyan_sys::owner::Owner;

/// The dirty pages of one commit, copied.
#[derive(Default)]
pub(crate) struct Capture {
    pub(crate) epoch: u64,
    pub(crate) event: u64,
    pub(crate) roots: Roots,
    pub(crate) operation: SnapshotOperation,
    /// Page numbers, ascending, and whether the page has bytes in `blocks`.
    pub(crate) pages: Vec<(u32, bool)>,
    pub(crate) blocks: Vec<Block>,
    /// The pager's number of the capture.
    pub(crate) number: u64,
}

impl Capture {
    fn request(&self) -> CommitRequest<'_> {
        let mut blocks = self.blocks.iter();
        let pages = self.pages.iter().map(|(page, full)| {
            let bytes = full.then(|| blocks.next().map(|block| &block.0[..])).flatten();
            (*page, bytes)
        });
        CommitRequest {
            epoch: self.epoch,
            event: self.event,
            roots: self.roots.clone(),
            operation: self.operation.clone(),
            pages: pages.collect(),
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    Commits,
    CommitsAndFolds,
}

/// What the thread reports to the arena.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The newest commit that became durable.
    pub(crate) position: Option<Position>,
    /// Captures up to this one are committed, and how many pages they had.
    pub(crate) accepted: Option<(u64, usize)>,
    /// Pages of commits that did not happen.
    pub(crate) returned: Vec<(u32, bool)>,
    pub(crate) error: Option<CommitError>,
}

#[derive(Default)]
struct State {
    /// Commits to be written; the first may be under way.
    jobs: VecDeque<Arc<Capture>>,
    fold: bool,
    folding: bool,
    stop: bool,
    /// Work of the program's own that this thread may help with.
    work: Option<Arc<SharedWork>>,
    outcome: Outcome,
    /// Buffers to be used again, since fresh memory costs more than the copy.
    spare: Vec<Vec<Block>>,
}

struct Shared<D: Disk> {
    store: Arc<RwLock<Store<D>>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Hands work to the thread.
pub(crate) struct Committer<D: Disk> {
    shared: Arc<Shared<D>>,
    thread: Option<JoinHandle<()>>,
    owner: Owner,
}

/// Pages that one thread copies at a time, and the number of pieces from which it pays to wake another
/// thread.
const PIECE: usize = 64;
const SHARED_MIN: usize = 4;
/// Buffers kept for the next commits.
const SPARES_MAX: usize = 2;
/// Deferred commits that may wait or be under way; the next one waits for a place.
const JOBS_MAX: usize = 5;

impl<D: Disk> Committer<D> {
    pub(crate) fn new(store: Arc<RwLock<Store<D>>>, owner: Owner) -> Self {
        let shared = Shared { store, state: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared), thread: None, owner }
    }

    /// Starts the thread if it does not run. `false`: none is to be had, so the program does the work itself.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("arena committer".to_owned());
            self.thread = builder.spawn(move || shared.run()).ok();
        }
        self.thread.is_some()
    }

    /// Copies `count` heap pages past the caches, since another thread reads the copies, later. The program
    /// stands still meanwhile: if the thread has nothing else to do, it copies some of them.
    pub(crate) fn copy<'a>(&self, count: usize, page: &(dyn Fn(usize) -> &'a [u8] + Sync)) -> Vec<Block> {
        let mut buffer = self.shared.state().spare.pop().unwrap_or_default();
        copy_in_pieces(&mut buffer, count, PIECE, page, |pieces, copy| {
            if pieces < SHARED_MIN {
                (0..pieces).for_each(copy);
            } else {
                self.with_help(pieces, copy);
            }
        });
        buffer
    }

    /// Queues a commit, for the thread that [`Committer::is_ready`] has started; waits only if many are
    /// queued already.
    pub(crate) fn commit(&self, capture: Capture) {
        debug_assert!(self.thread.is_some(), "a commit that nothing writes would be lost");
        let mut state = self.shared.state();
        while state.jobs.len() >= JOBS_MAX {
            self.shared.changed.wait(&mut state);
        }
        if state.outcome.error.is_some() {
            // One before has just failed, which the program has not been told: this one stands on it.
            state.outcome.returned.extend(&capture.pages);
            return;
        }
        state.jobs.push_back(Arc::new(capture));
        self.shared.changed.notify_all();
    }

    /// Which of some pages commits have bytes of that are not yet durable, in any order.
    pub(crate) fn queued_pages(&self, wanted: &dyn Fn(u32) -> bool) -> Vec<u32> {
        let state = self.shared.state();
        let pages = state.jobs.iter().flat_map(|capture| &capture.pages);
        pages.filter(|(page, full)| *full && wanted(*page)).map(|(page, _)| *page).collect()
    }

    /// Has the log folded: by the thread, soon; or here, now, if there is none.
    pub(crate) fn fold(&mut self) -> Option<CommitError> {
        if !self.is_ready() {
            return self.shared.fold();
        }
        self.shared.state().fold = true;
        self.shared.changed.notify_all();
        None
    }

    /// Does all parts of some work, with the thread's help if it has nothing else to do.
    fn with_help(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        share(parts, work, |shared| {
            let mut state = self.shared.state();
            if self.thread.is_some() && state.is_idle() {
                state.work = Some(shared);
                self.shared.changed.notify_all();
            }
        });
        // Where it did not come, it need not come any more.
        self.shared.state().work = None;
    }

    /// Waits until what is queued is decided; returns what came of it.
    pub(crate) fn settle(&self, queued: Queued) -> Outcome {
        let folds = queued == Queued::CommitsAndFolds;
        let mut state = self.shared.state();
        while !state.jobs.is_empty() || (folds && (state.folding || state.fold)) {
            self.shared.changed.wait(&mut state);
        }
        std::mem::take(&mut state.outcome)
    }

    /// Keeps an outcome for the next call that can report it.
    pub(crate) fn put_back(&self, outcome: Outcome) {
        let mut state = self.shared.state();
        let newer = std::mem::replace(&mut state.outcome, outcome);
        let kept = &mut state.outcome;
        kept.position = newer.position.or(kept.position.take());
        kept.accepted = newer.accepted.or(kept.accepted);
        kept.returned.extend(newer.returned);
        kept.error = kept.error.take().or(newer.error);
    }

    /// What has come of the commits so far.
    pub(crate) fn poll(&self) -> Outcome {
        std::mem::take(&mut self.shared.state().outcome)
    }
}

impl<D: Disk> Drop for Committer<D> {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            // A forked process: the thread is not there, and may have held any lock as it was copied.
            std::mem::forget(self.thread.take());
            return;
        }
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was already reported by the thread itself.
            let _ended = thread.join();
        }
    }
}

impl<D: Disk> Shared<D> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            if let Some(work) = state.work.take() {
                drop(state);
                work.help();
                state = self.state();
                continue;
            }
            if let Some(capture) = state.jobs.front().cloned() {
                drop(state);
                let mut store = self.store.write();
                let committed = store.commit_record(&capture.request());
                let wants_fold = store.wants_fold();
                drop((store, capture));
                state = self.state();
                state.fold |= wants_fold;
                state.take_in(committed);
            } else if state.fold {
                (state.fold, state.folding) = (false, true);
                drop(state);
                let failed = self.fold();
                state = self.state();
                state.folding = false;
                state.outcome.error = state.outcome.error.take().or(failed);
            } else if state.stop {
                return;
            } else {
                self.changed.wait(&mut state);
                continue;
            }
            self.changed.notify_all();
        }
    }

    /// Folds beside the program's commits. A full disk only puts it off.
    fn fold(&self) -> Option<CommitError> {
        // Commits go on meanwhile, until the log is so long that they wait for the fold.
        let committed = self.store.read().committed();
        let_readers_in(committed.disk());
        let begun = self.store.write().begin_fold();
        let work = match begun {
            Ok(Some(work)) => work,
            Ok(None) | Err(CommitError::DiskFull { .. } | CommitError::Poisoned) => return None,
            Err(error) => return Some(error),
        };
        let written = work.write(committed.disk(), &mut || {});
        self.store.write().finish_fold(work, written).err()
    }
}

impl State {
    fn is_idle(&self) -> bool {
        !self.folding && !self.fold && self.jobs.is_empty()
    }

    /// What came of the first commit.
    fn take_in(&mut self, committed: Result<Position, CommitError>) {
        let Some(mut capture) = self.jobs.pop_front().and_then(Arc::into_inner) else { return };
        match committed {
            Ok(position) => {
                let (_, pages) = self.outcome.accepted.unwrap_or_default();
                self.outcome.position = Some(position);
                self.outcome.accepted = Some((capture.number, pages + capture.pages.len()));
            }
            Err(error) => {
                self.outcome.error = Some(error);
                self.outcome.returned.append(&mut capture.pages);
                // What came after stands on what has not happened.
                for later in std::mem::take(&mut self.jobs) {
                    self.outcome.returned.extend(&later.pages);
                }
            }
        }
        capture.blocks.clear();
        if self.spare.len() < SPARES_MAX {
            self.spare.push(capture.blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::disk::{BLOCK_SIZE, MemoryDisk, Room};
    use crate::store::{Identity, StoreOptions};

    fn store() -> Arc<RwLock<Store<MemoryDisk>>> {
        let identity = Identity { uuid: [1; 16], base: 1 << 44, reservation: 1 << 30 };
        let store = Store::create(MemoryDisk::default(), identity, StoreOptions::default()).unwrap();
        Arc::new(RwLock::new(store))
    }

    /// A disk with a reader that asks for rest a few times.
    #[derive(Default)]
    struct Asked {
        bytes: MemoryDisk,
        left: AtomicU32,
    }

    impl Disk for Asked {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            self.bytes.read_at(offset, buffer)
        }
        fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> std::io::Result<()> {
            self.bytes.write_at(offset, pieces)
        }
        fn sync(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn length(&self) -> std::io::Result<u64> {
            self.bytes.length()
        }
        fn grow(&self, length: u64, room: Room) -> std::io::Result<()> {
            self.bytes.grow(length, room)
        }
        fn cut(&self, length: u64) -> std::io::Result<()> {
            self.bytes.cut(length)
        }
        fn is_asked_for_rest(&self) -> std::io::Result<bool> {
            let one_less = |left: u32| left.checked_sub(1);
            Ok(self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok())
        }
    }

    #[test]
    fn a_fold_waits_for_readers_that_ask_for_rest() {
        let identity = Identity { uuid: [1; 16], base: 1 << 44, reservation: 1 << 30 };
        let mut store = Store::create(Asked::default(), identity, StoreOptions::default()).unwrap();
        store.commit(&CommitRequest::default()).unwrap();
        let committed = store.committed();
        let mut committer = Committer::new(Arc::new(RwLock::new(store)), Owner::this_process().unwrap());
        assert!(committer.is_ready());
        committed.disk().left.store(3, Ordering::Relaxed);
        assert!(committer.fold().is_none());
        assert!(committer.settle(Queued::CommitsAndFolds).error.is_none());
        assert_eq!(committed.disk().left.load(Ordering::Relaxed), 0);
    }

    /// The failure came after the program had asked for it and before it handed the next one over.
    #[test]
    fn nothing_is_committed_behind_a_failure_that_the_program_has_not_seen() {
        let store = store();
        let mut committer = Committer::new(Arc::clone(&store), Owner::this_process().unwrap());
        assert!(committer.is_ready());
        let error = Some(CommitError::RootsTooLarge);
        committer.put_back(Outcome { returned: vec![(3, true)], error, ..Outcome::default() });
        let blocks = Block::zeroed(1);
        committer.commit(Capture { pages: vec![(9, true)], blocks, number: 1, ..Capture::default() });
        let outcome = committer.settle(Queued::Commits);
        assert_eq!(outcome.returned, [(3, true), (9, true)]);
        assert!(outcome.error.is_some() && outcome.position.is_none());
        assert_eq!(store.read().position().transaction, 0);
    }

    #[test]
    fn pages_of_commits_that_wait_are_known() {
        let store = store();
        let mut committer = Committer::new(Arc::clone(&store), Owner::this_process().unwrap());
        assert!(committer.is_ready());
        // The thread cannot finish a commit meanwhile.
        let held = store.write();
        for page in 1..4 {
            let pages = vec![(page, true), (page + 10, false)];
            committer.commit(Capture { pages, blocks: Block::zeroed(1), ..Capture::default() });
        }
        assert_eq!(committer.queued_pages(&|page| page != 2), [1, 3]);
        drop(held);
        committer.settle(Queued::Commits);
        assert!(committer.queued_pages(&|_| true).is_empty());
    }

    /// Copies are whole and in order, with help and without, in a buffer that was used before.
    #[test]
    fn pages_are_copied_by_two_threads() {
        let mut committer = Committer::new(store(), Owner::this_process().unwrap());
        let heap: Vec<[u8; BLOCK_SIZE]> =
            (0..1500_u32).map(|page| std::array::from_fn(|at| (page as usize * 7 + at / 16) as u8)).collect();
        for round in 0..100 {
            if round == 10 {
                assert!(committer.is_ready());
            }
            let count = round * 15 + round % 2;
            let copies = committer.copy(count, &|at| &heap[heap.len() - 1 - at][..]);
            assert_eq!(copies.len(), count);
            assert!(
                copies.iter().zip(heap.iter().rev()).all(|(copy, page)| copy.0 == *page),
                "round {round}"
            );
            committer.shared.state().spare.push(copies);
        }
    }
}
