//! What the kernel does with tracked memory that one would not expect. Each of these once lost a write or
//! stopped a program somewhere; a kernel that changes its mind shows here first.

use std::os::fd::AsFd;

use banyan_sys::dirty_pages;
use banyan_sys::userfaultfd::{Kind, Userfaultfd};
use rustix::io::Errno;

use super::{DemandPaging, Mapping, Means};

const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;

fn word(mapping: &Mapping, page: usize) -> *mut u64 {
    std::ptr::with_exposed_provenance_mut(mapping.base() + page * PAGE)
}

fn written(tracker: &DemandPaging, mapping: &Mapping) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut found = |at: usize, bytes: usize| runs.push(((at - mapping.base()) / PAGE, bytes / PAGE));
    tracker.written().take(mapping.base(), mapping.length(), &mut found).unwrap();
    runs
}

/// A dirty page that was swapped out is not present. A scan that asks for present pages would lose it. A
/// poisoned page stands for it here, since no test may count on a swap device: both are entries that are not
/// present and not empty.
#[test]
fn a_page_that_is_not_present_is_reported_all_the_same() {
    let mapping = Mapping::reserve(0x6201_0000_0000, HUGE).unwrap();
    let tracker = DemandPaging::track(&mapping).unwrap();
    // Pages can be provided, poison among them, where missing ones are asked for.
    tracker.serve(mapping.base(), HUGE).unwrap();
    if tracker.poison(mapping.base() + 5 * PAGE, PAGE).unwrap() {
        assert_eq!(written(&tracker, &mapping), [(5, 1)]);
        assert_eq!(written(&tracker, &mapping), []);
    }
}

/// Tracked memory cannot be put into huge pages afterwards, so nothing here tries to.
#[test]
fn tracked_pages_are_not_collapsed() {
    let mapping = Mapping::reserve(0x6201_1000_0000, HUGE).unwrap();
    let _tracker = DemandPaging::track(&mapping).unwrap();
    // SAFETY: the word is in the mapping; the advice changes no content.
    let refused = unsafe {
        word(&mapping, 0).write_volatile(1);
        libc::madvise(word(&mapping, 0).cast(), HUGE, libc::MADV_COLLAPSE)
    };
    // EINVAL or EBUSY, by the version.
    assert_eq!(refused, -1, "collapsed: then pages that rest could be scanned as one");
}

/// The unprivileged kind of userfaultfd serves the program's own accesses only: a system call that meets a
/// missing page fails. A page that was provided before is like any other.
#[test]
fn a_system_call_on_a_missing_page_fails_where_only_the_program_is_served() {
    let mapping = Mapping::reserve(0x6201_2000_0000, HUGE).unwrap();
    // SAFETY: the test's mapping alone is registered with it, and reached by raw pointers.
    let faults = unsafe { Userfaultfd::create(Kind::ProgramOnly, dirty_pages::FEATURES) }.unwrap();
    let tracker = DemandPaging::over(faults, Means::Least).unwrap();
    tracker.written().add(mapping.base(), HUGE).unwrap();
    tracker.serve(mapping.base(), HUGE).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let page = |number: usize| {
        // SAFETY: the page is in the mapping, which is readable, and no thread writes to it.
        unsafe { std::slice::from_raw_parts(word(&mapping, number).cast::<u8>(), PAGE) }
    };
    assert_eq!(rustix::io::write(writer.as_fd(), page(1)), Err(Errno::FAULT));
    tracker.provide(mapping.base() + PAGE, &[7; PAGE]).unwrap();
    assert_eq!(rustix::io::write(writer.as_fd(), page(1)), Ok(PAGE));
    let mut arrived = [0; PAGE];
    assert_eq!(rustix::io::read(&reader, &mut arrived), Ok(PAGE));
    assert_eq!(arrived, [7; PAGE]);
}
