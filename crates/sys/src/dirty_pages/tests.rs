//! That written pages are reported once, none is forgotten, and holes are not reported.

use std::ptr::null_mut;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::DirtyPages;

/// Private memory at an address of the kernel's choice.
struct Mapping {
    base: usize,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> Self {
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory that is in use.
        let base = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            let base = mmap_anonymous(null_mut(), length, access, MapFlags::PRIVATE).unwrap();
            // Tracked pages stay apart.
            let _unsupported = madvise(base, length, Advice::LinuxNoHugepage);
            base
        };
        Self { base: base.expose_provenance(), length }
    }

    fn base(&self) -> usize {
        self.base
    }

    fn place(&self, offset: usize) -> *mut u64 {
        assert!(offset < self.length, "inside the mapping");
        std::ptr::with_exposed_provenance_mut(self.base + offset)
    }

    fn discard(&self, offset: usize, length: usize) {
        // SAFETY: the range is inside the mapping, and no test keeps a reference into it.
        unsafe { madvise(self.place(offset).cast(), length, Advice::LinuxDontNeed) }.unwrap();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference to it is left.
        unsafe { munmap(self.place(0).cast(), self.length) }.unwrap();
    }
}

fn track(mapping: &Mapping) -> DirtyPages {
    let tracker = DirtyPages::open().unwrap();
    tracker.add(mapping.base(), mapping.length).unwrap();
    tracker
}

fn dirty(tracker: &DirtyPages, mapping: &Mapping, length: usize) -> Vec<usize> {
    let mut pages = Vec::new();
    let mut found = |start: usize, bytes: usize| {
        pages.extend((start..start + bytes).step_by(4096).map(|at| (at - mapping.base()) / 4096));
    };
    tracker.take(mapping.base(), length, &mut found).unwrap();
    pages
}

/// Holes are not reported, a full vector is resumed, and what was reported is not reported again until it is
/// written again.
#[test]
fn written_pages_are_reported_once() {
    let length = 16 << 20;
    let mapping = Mapping::new(length);
    let tracker = track(&mapping);
    assert_eq!(dirty(&tracker, &mapping, length), []);
    let write = |page: usize| {
        // SAFETY: the page is inside the mapping, which is readable and writable.
        unsafe { mapping.place(page * 4096).write_volatile(7) };
    };
    // Every second page: more runs than one call reports.
    let pages: Vec<usize> = (0..2 * 1500).step_by(2).collect();
    pages.iter().for_each(|page| write(*page));
    assert_eq!(dirty(&tracker, &mapping, length), pages);
    assert_eq!(dirty(&tracker, &mapping, length), []);
    write(6);
    assert_eq!(dirty(&tracker, &mapping, length), [6]);
    mapping.discard(6 * 4096, 4096);
    assert_eq!(dirty(&tracker, &mapping, length), []);
    write(6);
    assert_eq!(dirty(&tracker, &mapping, length), [6]);
}

/// Where there is no hole, both ways find the same.
#[test]
fn a_range_without_holes_is_taken_the_short_way() {
    let length = 4 << 20;
    let mapping = Mapping::new(length);
    let tracker = track(&mapping);
    let write = |page: usize| {
        // SAFETY: the page is inside the mapping, which is readable and writable.
        unsafe { mapping.place(page * 4096).write_volatile(7) };
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
