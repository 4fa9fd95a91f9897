//! Which pages were written since last asked: userfaultfd's asynchronous write protection together
//! with the page map scan, which reports and protects again in one call.
//!
//! Works on private memory, anonymous or of a memory file. The scan must be kept to memory that was populated: a hole
//! costs page tables, and counts as written. Neither the descriptor nor the protection survives a
//! fork or an exec. Sources: ioctl_userfaultfd(2), Documentation/admin-guide/mm/pagemap.rst.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use linux_raw_sys::general as linux;

use crate::mapping::Mapping;

const UFFD_API: u64 = 0xaa;
const UFFDIO_API: u64 = 0xc018_aa3f;
pub(crate) const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_WRITEPROTECT: u64 = 0xc018_aa06;
pub(crate) const REGISTER_MODE_WP: u64 = 1 << 1;
const FEATURE_WP_MEMORY_FILES: u64 = 1 << 12;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_POISON: u64 = 1 << 14;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const FEATURE_MOVE: u64 = 1 << 16;
/// Without these there is no write tracking.
const NEEDED: u64 = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED;
const USER_MODE_ONLY: u64 = 1;
const PAGEMAP_SCAN: u64 = 0xc060_6610;
const SCAN_WP_MATCHING: u64 = 1 << 0;
const SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// Runs that one call of the scan may report.
const RUNS: usize = 1024;
const PAGE: u64 = 4096;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
pub(crate) struct Register {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) mode: u64,
    pub(crate) ioctls: u64,
}

#[repr(C)]
struct WriteProtect {
    start: u64,
    length: u64,
    mode: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vector: u64,
    vector_length: u64,
    maximum_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_any_of: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

pub(crate) fn ioctl(
    descriptor: &impl AsRawFd,
    request: u64,
    argument: *mut core::ffi::c_void,
) -> io::Result<usize> {
    let result: isize;
    // SAFETY: ioctl takes three words and clobbers rcx and r11 only; each caller passes a live structure of
    // the layout and size that the request number states.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") linux::__NR_ioctl as isize => result,
            in("rdi") descriptor.as_raw_fd() as usize,
            in("rsi") request,
            in("rdx") argument,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result as i32))
}

/// Write tracking by the kernel: of one mapping, or of as many ranges as are added.
#[derive(Debug)]
pub struct DirtyPages {
    pub(crate) userfault: OwnedFd,
    pagemap: File,
    /// Whether pages can be moved out of the range, which eviction wants.
    pub(crate) can_move: bool,
    /// Whether an access to a page can be made to fail.
    pub(crate) can_poison: bool,
}

impl DirtyPages {
    /// Starts to track a mapping. Everything counts as written until the first [`DirtyPages::take`].
    ///
    /// # Errors
    /// `Unsupported` or `PermissionDenied` where the kernel lacks the means or withholds them: use another tracker.
    pub fn track(mapping: &Mapping) -> io::Result<Self> {
        // A kernel refuses a feature that it does not know, and a refused descriptor is spent.
        let (userfault, extras) = match open(NEEDED | FEATURE_MOVE | FEATURE_POISON) {
            Ok(userfault) => (userfault, true),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => (open(NEEDED)?, false),
            Err(error) => return Err(error),
        };
        let tracker = Self::over(userfault, extras)?;
        tracker.add(mapping.base(), mapping.length())?;
        Ok(tracker)
    }

    /// A tracker of no memory yet, for private memory of files too.
    ///
    /// # Errors
    /// As [`DirtyPages::track`].
    pub fn open() -> io::Result<Self> {
        let userfault = open(NEEDED | FEATURE_WP_MEMORY_FILES)?;
        Self::over(userfault, false)
    }

    fn over(userfault: OwnedFd, extras: bool) -> io::Result<Self> {
        let pagemap = File::open("/proc/self/pagemap")?;
        Ok(Self { userfault, pagemap, can_move: extras, can_poison: extras })
    }

    /// Tracks a range of private memory as well, until it is unmapped.
    ///
    /// # Errors
    /// What the kernel says, as when nothing or something else is mapped there.
    pub fn add(&self, start: usize, length: usize) -> io::Result<()> {
        let mut register =
            Register { start: start as u64, length: length as u64, mode: REGISTER_MODE_WP, ioctls: 0 };
        ioctl(&self.userfault, UFFDIO_REGISTER, (&raw mut register).cast()).map(drop)
    }

    /// Makes a range count as not written, the pages that are not there yet too: a first read of a file's
    /// page then does not count as a write.
    ///
    /// # Errors
    /// What the kernel says, as when the range is not tracked.
    pub fn protect(&self, start: usize, length: usize) -> io::Result<()> {
        let mut protect = WriteProtect { start: start as u64, length: length as u64, mode: 1 };
        ioctl(&self.userfault, UFFDIO_WRITEPROTECT, (&raw mut protect).cast()).map(drop)
    }

    /// Calls `found` with each run of pages (address, bytes) in the range that were written since the last
    /// call on it, and protects them again. Ask for populated ranges only.
    ///
    /// # Errors
    /// What the kernel says. Some pages may have been reported and protected by then.
    pub fn take(&self, start: usize, length: usize, found: &mut dyn FnMut(usize, usize)) -> io::Result<()> {
        let scan = Scan {
            flags: SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
            category_mask: PAGE_IS_WRITTEN,
            return_mask: PAGE_IS_WRITTEN,
            ..Scan::default()
        };
        self.scan(start, length, scan, found)
    }

    /// As [`DirtyPages::take`] for a range in which every page is in memory or swapped out, in two thirds of the time:
    /// the kernel has a short way for who asks for nothing but written pages. A hole would count as written.
    ///
    /// # Errors
    /// As [`DirtyPages::take`].
    pub fn take_full(
        &self,
        start: usize,
        length: usize,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        let flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC;
        let (category_mask, return_mask) = (PAGE_IS_WRITTEN, PAGE_IS_WRITTEN);
        self.walk(start, length, Scan { flags, category_mask, return_mask, ..Scan::default() }, found)
    }

    /// As [`DirtyPages::take`] for private memory of a file that was not protected: a page counts as written once the
    /// process has a copy of its own. Each page that is there is looked up, which takes half as long again.
    ///
    /// # Errors
    /// As [`DirtyPages::take`].
    pub fn take_copied(
        &self,
        start: usize,
        length: usize,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        let scan = Scan {
            flags: SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
            category_inverted: PAGE_IS_FILE,
            category_mask: PAGE_IS_WRITTEN | PAGE_IS_FILE,
            return_mask: PAGE_IS_WRITTEN,
            ..Scan::default()
        };
        self.scan(start, length, scan, found)
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
        let mut regions = [const { MaybeUninit::<Region>::uninit() }; RUNS];
        while at < end {
            let mut scan = Scan {
                size: size_of::<Scan>() as u64,
                start: at,
                end,
                vector: regions.as_mut_ptr() as u64,
                vector_length: RUNS as u64,
                ..scan
            };
            let count = ioctl(&self.pagemap, PAGEMAP_SCAN, (&raw mut scan).cast())?;
            for region in &regions[..count] {
                // SAFETY: the kernel has filled in the first `count` regions.
                let region = unsafe { region.assume_init() };
                found(region.start as usize, (region.end - region.start) as usize);
            }
            // With a full vector the walk stops early, and goes on from there.
            at = scan.walk_end.max(at + PAGE);
        }
        Ok(())
    }
}

/// A userfaultfd with these features.
fn open(features: u64) -> io::Result<OwnedFd> {
    // Unprivileged processes may have the kind that leaves the kernel's own accesses alone; write tracking needs no
    // message, so it serves as well.
    agree(create(0).or_else(|_| create(USER_MODE_ONLY))?, features)
}

/// A userfaultfd of this kind, on whose features nothing is agreed yet.
fn create(kind: u64) -> io::Result<OwnedFd> {
    let flags = kind | u64::from(linux::O_CLOEXEC | linux::O_NONBLOCK);
    let result: isize;
    // SAFETY: userfaultfd takes one word and gives a new descriptor or an error.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") linux::__NR_userfaultfd as isize => result,
            in("rdi") flags,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(-descriptor));
    }
    // SAFETY: the descriptor was opened just above and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Asks for features. A descriptor that was refused is spent.
fn agree(userfault: OwnedFd, features: u64) -> io::Result<OwnedFd> {
    let mut api = Api { api: UFFD_API, features, ioctls: 0 };
    ioctl(&userfault, UFFDIO_API, (&raw mut api).cast())?;
    Ok(userfault)
}

#[cfg(test)]
mod traps;

#[cfg(test)]
mod tests {
    use super::{DirtyPages, Mapping};

    fn dirty(tracker: &DirtyPages, mapping: &Mapping, length: usize) -> Vec<usize> {
        let mut pages = Vec::new();
        let mut found = |start: usize, bytes: usize| {
            pages.extend((start..start + bytes).step_by(4096).map(|at| (at - mapping.base()) / 4096));
        };
        tracker.take(mapping.base(), length, &mut found).unwrap();
        pages
    }

    /// Holes are not reported, a full vector is resumed, and what was reported is not reported again until it is written
    /// again.
    #[test]
    fn written_pages_are_reported_once() {
        let length = 16 << 20;
        let mapping = Mapping::reserve(0x6200_0000_0000, length).unwrap();
        let tracker = DirtyPages::track(&mapping).unwrap();
        assert_eq!(dirty(&tracker, &mapping, length), []);
        let write = |page: usize| {
            let address: *mut u64 = std::ptr::with_exposed_provenance_mut(mapping.base() + page * 4096);
            // SAFETY: the page is inside the mapping, which is readable and writable.
            unsafe { address.write_volatile(7) };
        };
        // Every second page: more runs than one call reports.
        let pages: Vec<usize> = (0..2 * 1500).step_by(2).collect();
        pages.iter().for_each(|page| write(*page));
        assert_eq!(dirty(&tracker, &mapping, length), pages);
        assert_eq!(dirty(&tracker, &mapping, length), []);
        write(6);
        assert_eq!(dirty(&tracker, &mapping, length), [6]);
        // SAFETY: nothing refers to the mapping's content.
        unsafe { mapping.discard(6 * 4096, 4096) }.unwrap();
        assert_eq!(dirty(&tracker, &mapping, length), []);
        write(6);
        assert_eq!(dirty(&tracker, &mapping, length), [6]);
    }

    /// Where there is no hole, both ways find the same.
    #[test]
    fn a_range_without_holes_is_taken_the_short_way() {
        let length = 4 << 20;
        let mapping = Mapping::reserve(0x6200_1000_0000, length).unwrap();
        let tracker = DirtyPages::track(&mapping).unwrap();
        let write = |page: usize| {
            let address: *mut u64 = std::ptr::with_exposed_provenance_mut(mapping.base() + page * 4096);
            // SAFETY: the page is inside the mapping, which is readable and writable.
            unsafe { address.write_volatile(7) };
        };
        let taken = || {
            let mut pages = Vec::new();
            let mut found = |start: usize, bytes: usize| {
                pages.extend((start..start + bytes).step_by(4096).map(|at| (at - mapping.base()) / 4096));
            };
            tracker.take_full(mapping.base(), length, &mut found).unwrap();
            pages
        };
        (0..length / 4096).for_each(write);
        assert_eq!(taken(), (0..length / 4096).collect::<Vec<_>>());
        assert_eq!(taken(), []);
        for page in [0, 7, 8, 1023] {
            write(page);
        }
        assert_eq!(taken(), [0, 7, 8, 1023]);
        write(9);
        assert_eq!(dirty(&tracker, &mapping, length), [9]);
        assert_eq!(taken(), []);
    }
}
