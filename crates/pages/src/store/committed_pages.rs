//! The committed pages as a reader sees them: found and read while the store commits and folds.
//!
//! [`Committed`] is shared between a store and the threads that load pages lazily. One mutex guards where
//! pages are; it is held for a lookup, directory reads included, and never while a page is read.
//!
//! Invariant: the directory's root changes only under the mutex, and a fold reuses no block of the root
//! before; so a lookup under the mutex never meets a node that is being overwritten.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::error::ReadError;
use super::format::NodePointer;
use super::tree::{NodeCache, PageEntry, TreeReader};
use super::{BLOCK, check_page};
use crate::disk::{BLOCK_SIZE, Block, Disk};

/// Entries of pages that the log changed; `None` is a page that became zero.
type Overlay = HashMap<u32, Option<PageEntry>>;
/// Is handed a page that was read, or why it could not be.
pub type FoundPage<'a, E> = &'a mut dyn FnMut(u32, Result<&[u8], ReadError>) -> Result<(), E>;

/// Blocks between two pages that are read in vain rather than by a read of their own.
const GAP_MAX: u64 = 8;
/// Blocks in one read.
const READ_MAX: u64 = 256;

/// Where the newest commit keeps its pages.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) tree: NodePointer,
    /// Commits since the fold that is under way began, or since the last one.
    pub(crate) overlay: Overlay,
    /// Commits that a fold under way is taking into the tree.
    pub(crate) folding: Overlay,
}

/// The committed pages of a store, or those of a snapshot.
pub struct Committed<D> {
    pub(crate) disk: Arc<D>,
    pub(crate) cache: NodeCache,
    view: Mutex<View>,
}

impl<D: Disk> Committed<D> {
    pub(crate) fn new(disk: Arc<D>, view: View) -> Self {
        Self { disk, cache: NodeCache::default(), view: Mutex::new(view) }
    }

    /// The disk that they are on.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Forgets what is known of the tree of pages, which is read again where it is needed.
    pub fn trim(&self) {
        self.cache.trim();
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        // A panic while it was held cannot have left a half of an update that matters: entries are
        // independent.
        self.view.lock()
    }

    pub(crate) fn reader(&self) -> TreeReader<'_, D> {
        TreeReader { disk: &self.disk, cache: &self.cache }
    }

    fn locate_under(&self, view: &View, page: u32) -> Result<Option<PageEntry>, ReadError> {
        match view.overlay.get(&page).or_else(|| view.folding.get(&page)) {
            Some(entry) => Ok(*entry),
            None => self.reader().lookup(view.tree, page),
        }
    }

    /// Where the last commit keeps a page; `None` for a page of zeroes.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn locate(&self, page: u32) -> Result<Option<PageEntry>, ReadError> {
        self.locate_under(&self.view(), page)
    }

    /// Where the last commit keeps a run of pages.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn locate_run(&self, first: u32, count: u32) -> Result<Vec<Option<PageEntry>>, ReadError> {
        let view = self.view();
        let mut entries: Vec<Option<PageEntry>> = Vec::with_capacity(count as usize);
        entries.resize(count as usize, None);
        let Some(more) = count.checked_sub(1) else { return Ok(entries) };
        let pages = first..=first.saturating_add(more);
        self.reader().range(view.tree, pages.clone(), &mut |page, entry| {
            entries[(page - first) as usize] = Some(entry);
        })?;
        for overlay in [&view.folding, &view.overlay] {
            if overlay.is_empty() {
                continue;
            }
            for (page, slot) in pages.clone().zip(&mut entries) {
                if let Some(entry) = overlay.get(&page) {
                    *slot = *entry;
                }
            }
        }
        Ok(entries)
    }

    /// The pages of a run that are not zero in the last commit, in any order. Costs what is there, not the
    /// run's length.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn pages_in(&self, run: Range<u64>) -> Result<Vec<u32>, ReadError> {
        let Some(last) = run.end.checked_sub(1).filter(|last| run.start <= *last) else {
            return Ok(Vec::new());
        };
        let number = |page: u64| u32::try_from(page).unwrap_or(u32::MAX);
        let run = number(run.start)..=number(last);
        let view = self.view();
        let changed = |page: u32| view.overlay.get(&page).or_else(|| view.folding.get(&page));
        let mut pages = Vec::new();
        self.reader().range(view.tree, run.clone(), &mut |page, _| {
            if changed(page).is_none() {
                pages.push(page);
            }
        })?;
        let mut logged: HashSet<u32> = HashSet::new();
        for overlay in [&view.overlay, &view.folding] {
            if u64::from(run.end() - run.start()) < overlay.len() as u64 {
                logged.extend(run.clone().filter(|page| overlay.contains_key(page)));
            } else {
                logged.extend(overlay.keys().filter(|page| run.contains(page)));
            }
        }
        pages.extend(logged.into_iter().filter(|page| changed(*page).is_some_and(Option::is_some)));
        Ok(pages)
    }

    /// Every page of the last commit that is not zero, ascending.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn pages(&self) -> Result<Vec<(u32, PageEntry)>, ReadError> {
        let view = self.view();
        let mut pages = BTreeMap::new();
        self.reader().walk(view.tree, &mut |_| true, &mut |page, entry| {
            pages.insert(page, entry);
        })?;
        for (page, entry) in view.folding.iter().chain(&view.overlay) {
            match entry {
                Some(entry) => pages.insert(*page, *entry),
                None => pages.remove(page),
            };
        }
        Ok(pages.into_iter().collect())
    }

    /// A bound on the pages' numbers: none of the last commit is as large. Costs one way down the tree.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn page_bound(&self) -> Result<u64, ReadError> {
        let view = self.view();
        let logged = view.folding.keys().chain(view.overlay.keys()).max().copied();
        let folded = self.reader().last_page(view.tree)?;
        // The last page of the largest heap has the largest number.
        Ok(logged.max(folded).map_or(0, |page| u64::from(page) + 1))
    }

    /// Fills `buffer` with a page and checks it.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] names the byte range if the checksum does not match.
    pub fn read_entry(&self, page: u32, entry: PageEntry, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.disk.read_at(entry.block * BLOCK, buffer)?;
        check_page(page, entry, buffer)
    }

    /// Reads pages in the order in which they lie in the file, neighbours in one read, checks each and hands
    /// it to `found`, with its error if it has one: the rest is read all the same.
    ///
    /// # Errors
    /// What `found` says, at once.
    pub fn read_pages<E>(&self, mut pages: Vec<(u32, PageEntry)>, found: FoundPage<'_, E>) -> Result<(), E> {
        pages.sort_unstable_by_key(|(_, entry)| entry.block);
        let mut buffer: Vec<Block> = Vec::new();
        let mut rest = pages.as_slice();
        while let Some((_, first)) = rest.first() {
            let mut last = first.block;
            let count = rest.partition_point(|(_, entry)| {
                let joins = entry.block <= last + 1 + GAP_MAX && entry.block < first.block + READ_MAX;
                last = if joins { entry.block } else { last };
                joins
            });
            let (group, after) = rest.split_at(count.max(1));
            rest = after;
            let end = group.last().map_or(first.block, |(_, entry)| entry.block) + 1;
            let blocks = (end - first.block) as usize;
            if buffer.len() < blocks {
                buffer = Block::zeroed(blocks);
            }
            let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut buffer[..blocks]);
            let read = self.disk.read_at(first.block * BLOCK, bytes);
            for (page, entry) in group {
                let at = (entry.block - first.block) as usize * BLOCK_SIZE;
                let page_bytes = &bytes[at..at + BLOCK_SIZE];
                let checked = match &read {
                    Ok(()) => check_page(*page, *entry, page_bytes).map(|()| page_bytes),
                    Err(error) => Err(ReadError::Io(copy_of(error))),
                };
                found(*page, checked)?;
            }
        }
        Ok(())
    }
}

/// One failed read is reported for each of its pages.
fn copy_of(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}
