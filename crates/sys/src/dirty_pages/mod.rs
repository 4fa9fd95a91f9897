//! Which pages were written since last asked: userfaultfd's asynchronous write protection together
//! with the page map scan, which reports and protects again in one call.
//!
//! Works on private memory, anonymous or of a memory file. The scan must be kept to memory that was
//! populated: a hole costs page tables, and counts as written. Neither the descriptor nor the protection
//! survives a fork or an exec. Sources: ioctl_userfaultfd(2), Documentation/admin-guide/mm/pagemap.rst.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use linux_raw_sys::general::{self as linux, page_region, pm_scan_arg};

use crate::raw::{Errno, call};
use crate::userfaultfd::{Kind, Registration, Userfaultfd, WriteProtection};

/// Features of a userfaultfd without which there is no write tracking.
pub const FEATURES: u64 = linux::UFFD_FEATURE_WP_ASYNC as u64 | linux::UFFD_FEATURE_WP_UNPOPULATED as u64;
/// Beside [`FEATURES`], for private memory of files.
const FEATURE_MEMORY_FILES: u64 = linux::UFFD_FEATURE_WP_HUGETLBFS_SHMEM as u64;
/// `PAGEMAP_SCAN`, which the bindings leave out.
const PAGEMAP_SCAN: u32 = (3 << 30) | ((size_of::<pm_scan_arg>() as u32) << 16) | (0x66 << 8) | 16;
const _: () = assert!(PAGEMAP_SCAN == 0xc060_6610);
const PAGE_IS_WRITTEN: u64 = linux::PAGE_IS_WRITTEN as u64;
const PAGE_IS_FILE: u64 = linux::PAGE_IS_FILE as u64;
const PAGE_IS_PRESENT: u64 = linux::PAGE_IS_PRESENT as u64;
const PAGE_IS_SWAPPED: u64 = linux::PAGE_IS_SWAPPED as u64;
const TAKE: u64 = linux::PM_SCAN_WP_MATCHING as u64 | linux::PM_SCAN_CHECK_WPASYNC as u64;
/// Runs that one call of the scan may report.
const RUNS: usize = 1024;
const PAGE: u64 = 4096;

/// What a scan asks for: the fields of `pm_scan_arg` of these names.
#[derive(Clone, Copy, Default)]
struct Scan {
    flags: u64,
    category_inverted: u64,
    category_mask: u64,
    category_any_of: u64,
    return_mask: u64,
}

impl Scan {
    /// Pages that were written since they were protected.
    fn written() -> Self {
        Self { category_mask: PAGE_IS_WRITTEN, return_mask: PAGE_IS_WRITTEN, ..Self::default() }
    }

    /// Pages of a file's private memory of which the process has its own copy.
    fn copied() -> Self {
        Self {
            category_inverted: PAGE_IS_FILE,
            category_mask: PAGE_IS_WRITTEN | PAGE_IS_FILE,
            return_mask: PAGE_IS_WRITTEN,
            ..Self::default()
        }
    }
}

/// Write tracking by the kernel, of as many ranges as are added.
#[derive(Debug)]
pub struct DirtyPages {
    userfault: Arc<Userfaultfd>,
    pagemap: File,
}

impl DirtyPages {
    /// A tracker of no memory yet, for private memory of files too.
    ///
    /// # Errors
    /// `Unsupported` or `PermissionDenied` where the kernel lacks the means or withholds them: use another
    /// way.
    pub fn open() -> io::Result<Self> {
        let features = FEATURES | FEATURE_MEMORY_FILES;
        // SAFETY: ranges are registered for writes only, which changes no content, and the descriptor stays
        // here.
        let create = |kind| unsafe { Userfaultfd::create(kind, features) };
        // Unprivileged processes may have the kind that leaves the kernel's own accesses alone; write
        // tracking needs no message, so it serves as well.
        let userfault = match create(Kind::ProgramAndKernel) {
            Err(Errno::EPERM) => create(Kind::ProgramOnly)?,
            other => other?,
        };
        Self::over(Arc::new(userfault))
    }

    /// A tracker of no memory yet, over a userfaultfd of this process with [`FEATURES`] at least.
    ///
    /// # Errors
    /// What the system says when it cannot open the page map.
    pub fn over(userfault: Arc<Userfaultfd>) -> io::Result<Self> {
        Ok(Self { userfault, pagemap: File::open("/proc/self/pagemap")? })
    }

    /// Tracks a range of private memory as well, until it is unmapped.
    ///
    /// # Errors
    /// What the kernel says, as when nothing or something else is mapped there.
    pub fn add(&self, start: usize, length: usize) -> io::Result<()> {
        Ok(self.userfault.register(start as u64, length as u64, Registration::Writes)?)
    }

    /// Makes a range count as not written, the pages that are not there yet too: a first read of a file's
    /// page then does not count as a write.
    ///
    /// # Errors
    /// What the kernel says, as when the range is not tracked.
    pub fn protect(&self, start: usize, length: usize) -> io::Result<()> {
        Ok(self.userfault.write_protect(start as u64, length as u64, WriteProtection::Set)?)
    }

    /// Calls `found` with each run of pages (address, bytes) in the range that were written since the last
    /// call on it, and protects them again. Ask for populated ranges only.
    ///
    /// # Errors
    /// What the kernel says. Some pages may have been reported and protected by then.
    pub fn take(&self, start: usize, length: usize, found: &mut dyn FnMut(usize, usize)) -> io::Result<()> {
        self.scan(start, length, Scan { flags: TAKE, ..Scan::written() }, found)
    }

    /// Calls `found` with each run of pages in the range that [`DirtyPages::take`] would report, and leaves
    /// them as they are.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn written(
        &self,
        start: usize,
        length: usize,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        self.scan(start, length, Scan::written(), found)
    }

    /// As [`DirtyPages::written`], of the pages that [`DirtyPages::take_copied`] would report.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn copied(&self, start: usize, length: usize, found: &mut dyn FnMut(usize, usize)) -> io::Result<()> {
        self.scan(start, length, Scan::copied(), found)
    }

    /// As [`DirtyPages::take`] for a range in which every page is in memory or swapped out, in two thirds of
    /// the time: the kernel has a shorter path for a caller that asks for written pages only. A hole would
    /// count as written.
    ///
    /// # Errors
    /// As [`DirtyPages::take`].
    pub fn take_full(
        &self,
        start: usize,
        length: usize,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        self.walk(start, length, Scan { flags: TAKE, ..Scan::written() }, found)
    }

    /// As [`DirtyPages::take`] for private memory of a file that was not protected: a page counts as written
    /// once the process has its own copy. Each page that is there is looked up, which takes half as long
    /// again.
    ///
    /// # Errors
    /// As [`DirtyPages::take`].
    pub fn take_copied(
        &self,
        start: usize,
        length: usize,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        self.scan(start, length, Scan { flags: TAKE, ..Scan::copied() }, found)
    }

    /// Calls `found` with each run of pages that are in memory and were not written since they were last
    /// taken. A page may be written as soon as this has looked at it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clean(&self, start: usize, length: usize, found: &mut dyn FnMut(usize, usize)) -> io::Result<()> {
        let scan =
            Scan { category_inverted: PAGE_IS_WRITTEN, category_mask: PAGE_IS_WRITTEN, ..Scan::default() };
        self.scan(start, length, scan, found)
    }

    /// Calls `found` with each run of pages that are in memory or swapped out.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn resident(
        &self,
        start: usize,
        length: usize,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        self.scan(start, length, Scan::default(), found)
    }

    fn scan(
        &self,
        start: usize,
        length: usize,
        scan: Scan,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        // Holes count as written; a dirty page that was swapped out is not present. So: either.
        let category_any_of = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
        let return_mask = if scan.return_mask == 0 { PAGE_IS_PRESENT } else { scan.return_mask };
        self.walk(start, length, Scan { category_any_of, return_mask, ..scan }, found)
    }

    fn walk(
        &self,
        start: usize,
        length: usize,
        scan: Scan,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        let end = (start + length) as u64;
        let mut at = start as u64;
        // Left unset: to clear it would cost more than the scan of a small range.
        let mut regions = [const { MaybeUninit::<page_region>::uninit() }; RUNS];
        while at < end {
            let mut arguments = pm_scan_arg {
                size: size_of::<pm_scan_arg>() as u64,
                flags: scan.flags,
                start: at,
                end,
                walk_end: 0,
                vec: regions.as_mut_ptr() as u64,
                vec_len: RUNS as u64,
                max_pages: 0,
                category_inverted: scan.category_inverted,
                category_mask: scan.category_mask,
                category_anyof_mask: scan.category_any_of,
                return_mask: scan.return_mask,
            };
            let pagemap = self.pagemap.as_raw_fd() as u64;
            let argument = (&raw mut arguments) as u64;
            // SAFETY: the kernel reads and writes one `pm_scan_arg`, and writes regions up to the number
            // given. A scan that protects does so where writes are tracked asynchronously only, which no
            // program notices.
            let count = unsafe { call(linux::__NR_ioctl, [pagemap, u64::from(PAGEMAP_SCAN), argument])? };
            for region in &regions[..count as usize] {
                // SAFETY: the kernel has filled in the first `count` regions.
                let region = unsafe { region.assume_init() };
                found(region.start as usize, (region.end - region.start) as usize);
            }
            // With a full vector the walk stops early, and goes on from there.
            at = arguments.walk_end.max(at + PAGE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
