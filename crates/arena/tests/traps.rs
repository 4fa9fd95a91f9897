//! What must hold of the heap because of how the kernel tracks and serves memory. What the kernel does by
//! itself is in the tests of `banyan_sys::dirty_pages`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::Layout;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use banyan_arena::{Arena, ArenaOptions, Loading};

use libc::SIGSEGV;

/// Kilobytes of page tables of this process.
fn page_tables() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPTE:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A scan of memory that was never touched makes page tables for it: 2 GiB of them for a TiB. So a commit
/// scans what is in use only.
#[test]
fn a_huge_reservation_costs_no_page_tables() {
    let directory = tempfile::tempdir().unwrap();
    let options = ArenaOptions { base: 0x2a00_0000_0000, reservation: 1 << 40, ..ArenaOptions::default() };
    let before = page_tables();
    let mut arena = Arena::create(&directory.path().join("a"), options).unwrap();
    let layout = Layout::from_size_align(1 << 16, 4096).unwrap();
    for event in 0..3 {
        let object = arena.allocate(layout).unwrap();
        // SAFETY: the object was just allocated, with more than one byte.
        unsafe { object.write(1) };
        arena.commit(0, event).unwrap();
    }
    // Other tests of this file may use some meanwhile.
    assert!(page_tables() < before + 64 * 1024, "{} KiB, {before} before", page_tables());
}

/// Neither the tracking nor the serving of pages survives a fork. A child that saw the heap would read zeroes
/// where a page had yet to come; so it does not see it, and the parent goes on.
#[test]
fn a_forked_child_has_no_heap() {
    for loading in [Loading::Eager, Loading::Lazy] {
        let directory = tempfile::tempdir().unwrap();
        let options = ArenaOptions { base: 0x2b00_0000_0000, loading, ..ArenaOptions::default() };
        let path = directory.path().join("a");
        let mut arena = Arena::create(&path, options).unwrap();
        let object = arena.allocate(Layout::new::<u64>()).unwrap().cast::<u64>();
        // SAFETY: the object was just allocated with this layout.
        unsafe { object.write(5) };
        arena.commit(0, 1).unwrap();
        drop(arena);
        let mut arena = Arena::open(&path, options).unwrap();
        let address = object.as_ptr() as usize;
        let read = move || {
            let place: *const u64 = std::ptr::with_exposed_provenance(address);
            // SAFETY: the object is in the heap of the arena that is open; in the child this is what is
            // tested.
            unsafe { place.read_volatile() }
        };
        let mut child = Command::new("/bin/true");
        // SAFETY: reading memory is safe between fork and exec.
        unsafe {
            child.pre_exec(move || {
                read();
                Ok(())
            });
        }
        let ended = child.spawn().unwrap().wait().unwrap();
        assert_eq!(ended.signal(), Some(SIGSEGV), "{loading:?}: {ended}");
        assert_eq!(read(), 5);
        // SAFETY: as above, and nothing else refers to the object.
        unsafe { object.write(6) };
        arena.commit(0, 2).unwrap();
        drop(arena);
        let arena = Arena::open(&path, options).unwrap();
        assert_eq!((arena.position().event, read()), (2, 6));
    }
}
