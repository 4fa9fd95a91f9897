//! Which pages were written, by memory protection and SIGSEGV: for kernels that track writes in no other way.
//!
//! A [`WriteFaults`] makes a mapping read-only; the first write to a page is a signal, whose handler notes
//! the page and makes it writable. The kernel's own writes to a page that is still read-only (a `read(2)`
//! into it) fail with `EFAULT`: note such a range first ([`WriteFaults::note`]).
//!
//! The handler is the process's own and stays installed; a fault elsewhere goes to the handler that had
//! SIGSEGV before. It allocates nothing and takes no lock: ranges are found in a table of atomics. Isolated
//! writable pages split the mapping, and the kernel allows a limited number of pieces: beyond
//! [`ISOLATED_MAX`] faults since the last [`WriteFaults::take`], whole chunks become writable and count as
//! written.

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::mm::{MprotectFlags, mprotect};

use crate::sys::mapping::Mapping;

const PAGE: usize = 4096;
/// Pages that become writable at once when there are too many pieces: 2 MiB.
const CHUNK_PAGES: usize = 512;
/// Faults between two takes after which whole chunks are made writable.
pub(crate) const ISOLATED_MAX: usize = 8192;
/// Mappings tracked at a time in one process.
const TRACKED_MAX: usize = 64;

struct Range {
    base: usize,
    length: usize,
    written: Box<[AtomicU64]>,
    faults: AtomicUsize,
}

static TRACKED: [AtomicPtr<Range>; TRACKED_MAX] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; TRACKED_MAX];
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static INSTALL: Mutex<()> = Mutex::new(());

impl Range {
    fn note(&self, first: usize, count: usize) {
        for page in first..(first + count).min(self.length / PAGE) {
            self.written[page / 64].fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
    }

    fn protect(&self, first: usize, count: usize, writable: bool) -> io::Result<()> {
        let count = count.min((self.length / PAGE).saturating_sub(first));
        let address = std::ptr::with_exposed_provenance_mut(self.base + first * PAGE);
        let write = if writable { MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: the pages are inside the mapping that this range stands for, and stay readable; the thread
        // that writes to a page that became read-only ends in the handler below, which makes it writable.
        unsafe { mprotect(address, count * PAGE, MprotectFlags::READ | write) }.map_err(Into::into)
    }

    /// Notes the write to a page and lets it go on. `false`: it cannot.
    fn admit(&self, page: usize) -> bool {
        // The note comes first: the write may happen as soon as the page is writable.
        if self.faults.fetch_add(1, Ordering::Relaxed) < ISOLATED_MAX {
            self.note(page, 1);
            if self.protect(page, 1, true).is_ok() {
                return true;
            }
        }
        let first = page / CHUNK_PAGES * CHUNK_PAGES;
        self.note(first, CHUNK_PAGES);
        self.protect(first, CHUNK_PAGES, true).is_ok()
    }
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the fault's details to a handler installed with SA_SIGINFO.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    const SEGV_ACCERR: i32 = 2;
    if code == SEGV_ACCERR {
        for slot in &TRACKED {
            let range = slot.load(Ordering::Acquire);
            if range.is_null() {
                continue;
            }
            // SAFETY: a range stays allocated while it is in the table and a thread can fault on its mapping:
            // its owner takes it out before the mapping goes.
            let range = unsafe { &*range };
            if address.wrapping_sub(range.base) < range.length && range.admit((address - range.base) / PAGE) {
                return;
            }
        }
    }
    match PREVIOUS.get() {
        Some(previous)
            if previous.sa_sigaction != libc::SIG_DFL && previous.sa_sigaction != libc::SIG_IGN =>
        {
            // SAFETY: the program that installed this handler promised that it is one of the kind that its
            // flags say.
            unsafe {
                if previous.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(previous.sa_sigaction);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C" fn(i32) = std::mem::transmute(previous.sa_sigaction);
                    handler(signal);
                }
            }
        }
        _ => {
            // No handler wants it: the default action, at the retry of the same instruction.
            // SAFETY: sigaction with a zeroed, thus default, action for a valid signal.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &raw const default, std::ptr::null_mut());
            }
        }
    }
}

fn install() -> io::Result<()> {
    let _guard = INSTALL.lock();
    if PREVIOUS.get().is_some() {
        return Ok(());
    }
    // SAFETY: both actions are live for the call; the handler does only what a signal handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        let mut previous: libc::sigaction = std::mem::zeroed();
        // Read first, so that the handler never runs without knowing whom to pass a fault to.
        if libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut previous) != 0 {
            return Err(io::Error::last_os_error());
        }
        let _first = PREVIOUS.set(previous);
        if libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Write tracking of one mapping by signals. Must be dropped before the mapping.
pub(crate) struct WriteFaults {
    range: Arc<Range>,
}

impl WriteFaults {
    /// Starts to track a mapping; nothing counts as written.
    ///
    /// # Errors
    /// What the kernel says; `OutOfMemory` if this process tracks 64 mappings already.
    pub(crate) fn track(mapping: &Mapping) -> io::Result<Self> {
        install()?;
        let pages = mapping.length() / PAGE;
        // Zeroed memory of this size is mapped, not touched: it costs where it is used.
        let zeroed = vec![0_u64; pages.div_ceil(64)].into_boxed_slice();
        // SAFETY: an atomic word has the size, alignment and valid values of a plain one, and the box is
        // ours.
        let written = unsafe { Box::from_raw(Box::into_raw(zeroed) as *mut [AtomicU64]) };
        let (base, length) = (mapping.base(), mapping.length());
        let range = Arc::new(Range { base, length, written, faults: AtomicUsize::new(0) });
        let pointer = Arc::as_ptr(&range).cast_mut();
        let free = TRACKED.iter().find(|slot| {
            slot.compare_exchange(std::ptr::null_mut(), pointer, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if free.is_none() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let tracker = Self { range };
        tracker.range.protect(0, pages, false)?;
        Ok(tracker)
    }

    /// Counts pages as written and makes them writable: before the kernel is to write there.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn note(&self, start: usize, length: usize) -> io::Result<()> {
        let first = (start - self.range.base) / PAGE;
        let count = (start - self.range.base + length).div_ceil(PAGE) - first;
        self.range.note(first, count);
        self.range.protect(first, count, true)
    }

    /// Calls `found` with each run of pages (address, bytes) in the range that were written since the last
    /// call on it, and protects them again.
    ///
    /// # Errors
    /// What the kernel says. Some pages may have been reported and protected by then.
    pub(crate) fn take(
        &self,
        start: usize,
        length: usize,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        let range = &self.range;
        let (first, end) = ((start - range.base) / PAGE, (start - range.base + length) / PAGE);
        let mut run: Option<(usize, usize)> = None;
        let mut runs = Vec::new();
        for word in first / 64..end.div_ceil(64) {
            let inside = (word * 64..word * 64 + 64).filter(|page| (first..end).contains(page));
            let mask = inside.fold(0, |mask, page| mask | 1_u64 << (page % 64));
            let mut bits = range.written[word].fetch_and(!mask, Ordering::Relaxed) & mask;
            while bits != 0 {
                let page = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                match &mut run {
                    Some((start, count)) if *start + *count == page => *count += 1,
                    _ => runs.extend(run.replace((page, 1))),
                }
            }
        }
        runs.extend(run);
        // With many runs one call for all costs less, and puts the pieces together again.
        if runs.len() > 16 {
            range.protect(first, end - first, false)?;
        } else {
            for (page, count) in &runs {
                range.protect(*page, *count, false)?;
            }
        }
        range.faults.store(0, Ordering::Relaxed);
        for (page, count) in runs {
            found(range.base + page * PAGE, count * PAGE);
        }
        Ok(())
    }
}

impl Drop for WriteFaults {
    fn drop(&mut self) {
        let pointer = Arc::as_ptr(&self.range).cast_mut();
        for slot in &TRACKED {
            let _other =
                slot.compare_exchange(pointer, std::ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_pages_are_reported_once() {
        let length = 64 << 20;
        let mapping = Mapping::reserve(0x6400_0000_0000, length).unwrap();
        let tracker = WriteFaults::track(&mapping).unwrap();
        let dirty = || {
            let mut pages = Vec::new();
            let mut found = |start: usize, bytes: usize| {
                pages.extend((start..start + bytes).step_by(PAGE).map(|at| (at - mapping.base()) / PAGE));
            };
            tracker.take(mapping.base(), length, &mut found).unwrap();
            pages
        };
        let write = |page: usize| {
            let address: *mut u64 = std::ptr::with_exposed_provenance_mut(mapping.base() + page * PAGE);
            // SAFETY: the page is inside the mapping; the write faults and the handler makes it writable.
            unsafe { address.write_volatile(7) };
        };
        assert_eq!(dirty(), []);
        let pages: Vec<usize> = (0..3000).step_by(2).collect();
        pages.iter().for_each(|page| write(*page));
        assert_eq!(dirty(), pages);
        assert_eq!(dirty(), []);
        write(6);
        assert_eq!(dirty(), [6]);
        // Too many pieces for one mapping: reported in chunks, and complete.
        let pages: Vec<usize> = (0..16_000).step_by(1).filter(|page| page % 3 != 0).collect();
        pages.iter().for_each(|page| write(*page));
        let found = dirty();
        assert!(pages.iter().all(|page| found.binary_search(page).is_ok()));
        tracker.note(mapping.base() + 5 * PAGE + 8, PAGE).unwrap();
        assert_eq!(dirty(), [5, 6]);
    }
}
