//! The results and operations of single calls, where a reader may want to see them.

use super::*;
use alloc::vec::Vec;
use linux_raw_sys::errno::{EACCES, EBUSY, EEXIST, EFAULT, EINVAL, ENOMEM};
use linux_raw_sys::general as linux;

const ANONYMOUS: u64 = (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS) as u64;
const MAY_MOVE: u64 = linux::MREMAP_MAYMOVE as u64;
const READ: u64 = PROT_READ as u64;
const WRITABLE: u64 = READ_WRITE as u64;

/// A thread of a node, without limits, that maps zeroes.
pub(super) fn on(node: u8) -> Caller {
    Caller { node, limits: Limits::NONE, source: Source::Zeroes }
}

fn mapped(regions: &mut Regions, length: u64, node: u8) -> u64 {
    let effect = regions.call(MemoryCall::Map, [0, length, WRITABLE, ANONYMOUS, u64::MAX, 0], on(node));
    assert!(effect.result > 0);
    effect.result as u64
}

#[test]
fn mappings_of_different_nodes_never_share_an_extent() {
    let mut regions = Regions::new(1 << 30);
    let (a, b) = (mapped(&mut regions, 4096, 0), mapped(&mut regions, 4096, 1));
    assert_ne!(a / EXTENT_BYTES, b / EXTENT_BYTES);
    assert_eq!(banyan_wire::address_space::pool_node(b), 1);
}

#[test]
fn reservations_that_do_not_fit_into_the_pool_go_elsewhere() {
    let mut regions = Regions::new(1 << 30);
    let reserve = |regions: &mut Regions| {
        regions.call(MemoryCall::Map, [0, 8 << 30, 0, ANONYMOUS, u64::MAX, 0], on(1)).result as u64
    };
    let all: Vec<u64> = (0..80).map(|_| reserve(&mut regions)).collect();
    assert!(all[..64].iter().all(|&start| banyan_wire::address_space::pool_node(start) == 1));
    assert!(all[64..].iter().all(|&start| LARGE.contains(start)));
}

#[test]
fn unmapping_the_middle_splits_and_is_forgotten_elsewhere() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 3 * PAGE_BYTES, 0);
    let effect = regions.call(MemoryCall::Unmap, [a + PAGE_BYTES, PAGE_BYTES, 0, 0, 0, 0], on(0));
    assert_eq!(effect.forget, Some(Range { start: a + PAGE_BYTES, length: PAGE_BYTES }));
    assert!(regions.lookup(a).is_some() && regions.lookup(a + PAGE_BYTES).is_none());
    assert!(regions.lookup(a + 2 * PAGE_BYTES).is_some());
}

#[test]
fn only_taking_rights_away_is_forgotten_elsewhere() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 4 * PAGE_BYTES, 0);
    let less = regions.call(MemoryCall::Protect, [a, PAGE_BYTES, READ, 0, 0, 0], on(0));
    assert!(less.forget.is_some());
    let more = regions.call(MemoryCall::Protect, [a, PAGE_BYTES, WRITABLE, 0, 0, 0], on(0));
    assert_eq!(more.forget, None);
    assert_eq!(
        regions.lookup(a).map(|r| r.end),
        Some(a + 4 * PAGE_BYTES),
        "equal neighbours are joined again"
    );
}

#[test]
fn what_no_memory_can_back_is_refused_and_a_reservation_is_not() {
    let mut regions = Regions::new(1 << 30);
    let huge = regions.call(MemoryCall::Map, [0, 1 << 40, WRITABLE, ANONYMOUS, u64::MAX, 0], on(0));
    assert_eq!(huge.result, -i64::from(ENOMEM));
    let reserved = regions.call(MemoryCall::Map, [0, 1 << 40, 0, ANONYMOUS, u64::MAX, 0], on(0));
    assert!(reserved.result > 0);
}

#[test]
fn what_is_larger_than_the_range_for_large_reservations_lies_away_from_the_first_pools() {
    let mut regions = Regions::new(1 << 30);
    for tebibytes in [33, 64, 80] {
        let length = tebibytes << 40;
        let reserve = [0, length, 0, ANONYMOUS, u64::MAX, 0];
        let start = regions.call(MemoryCall::Map, reserve, on(1)).result;
        assert!(start >= pool_start(32) as i64, "{tebibytes} TiB at {start:#x}");
        assert!(regions.call(MemoryCall::Map, [0, 100 << 40, 0, ANONYMOUS, u64::MAX, 0], on(1)).result < 0);
        assert!(mapped(&mut regions, PAGE_BYTES, 1) < start as u64);
        assert_eq!(regions.call(MemoryCall::Unmap, [start as u64, length, 0, 0, 0, 0], on(1)).result, 0);
    }
}

#[test]
fn a_wish_for_addresses_is_granted_where_no_node_may_still_come() {
    let mut regions = Regions::new(1 << 30);
    let mut wish = |at: u64, node| {
        regions.call(MemoryCall::Map, [at, 2 * PAGE_BYTES, WRITABLE, ANONYMOUS, u64::MAX, 0], on(node)).result
            as u64
    };
    let large = LARGE.start + (1 << 30);
    for (at, node) in [(pool_start(0) + EXTENT_BYTES, 0), (pool_start(2) + EXTENT_BYTES, 2), (large, 1)] {
        assert_eq!(wish(at, node), at, "{at:#x} for node {node}");
    }
    assert_ne!(wish(pool_start(1), 0), pool_start(1), "nobody has memory there yet");
    assert_ne!(wish(pool_start(1) - PAGE_BYTES, 0), pool_start(1) - PAGE_BYTES, "half of it in that pool");
    let beside = pool_start(2) + 2 * EXTENT_BYTES;
    assert_eq!(wish(beside, 0), beside, "node 2 is there");
}

#[test]
fn fixed_mappings_replace_and_no_replace_refuses() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 2 * PAGE_BYTES, 0);
    let flags = ANONYMOUS | u64::from(linux::MAP_FIXED_NOREPLACE);
    assert_eq!(
        regions.call(MemoryCall::Map, [a, PAGE_BYTES, WRITABLE, flags, 0, 0], on(0)).result,
        -i64::from(EEXIST)
    );
    let over = regions.call(
        MemoryCall::Map,
        [a, PAGE_BYTES, READ, ANONYMOUS | u64::from(linux::MAP_FIXED), 0, 0],
        on(0),
    );
    assert_eq!(over.result as u64, a);
    assert!(over.operations.iter().any(|operation| matches!(operation, Operation::Discard(_))));
    assert_eq!(regions.lookup(a).map(|r| r.protection), Some(PROT_READ));
}

#[test]
fn remap_grows_in_place_or_moves() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, PAGE_BYTES, 0);
    let grown = regions.call(MemoryCall::Remap, [a, PAGE_BYTES, 2 * PAGE_BYTES, MAY_MOVE, 0, 0], on(0));
    assert_eq!(grown.result as u64, a);
    let b = mapped(&mut regions, PAGE_BYTES, 0);
    assert_eq!(b, a + 2 * PAGE_BYTES);
    let _ = regions.call(MemoryCall::Protect, [b, PAGE_BYTES, READ, 0, 0, 0], on(0));
    let moved = regions.call(MemoryCall::Remap, [a, 2 * PAGE_BYTES, 8 * PAGE_BYTES, MAY_MOVE, 0, 0], on(0));
    assert_ne!(moved.result as u64, a);
    assert!(regions.lookup(a).is_none());
    assert!(moved.operations.len() <= banyan_wire::stub::ACTIONS_MAX);
}

#[test]
fn the_break_moves_both_ways() {
    let mut regions = Regions::new(1 << 30);
    regions.set_break(pool_start(0) + 0x100);
    let start = regions.call(MemoryCall::Break, [0; 6], on(0)).result as u64;
    let up = regions.call(MemoryCall::Break, [start + 10_000, 0, 0, 0, 0, 0], on(0));
    assert_eq!((up.result as u64, up.operations.len()), (start + 10_000, 3));
    let down = regions.call(MemoryCall::Break, [start, 0, 0, 0, 0, 0], on(0));
    assert_eq!(down.result as u64, start);
    assert!(regions.lookup(start + 8192).is_none());
}

#[test]
fn a_length_that_wraps_around_is_no_mapping() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 2 * PAGE_BYTES, 0);
    let wrapping = 0_u64.wrapping_sub(a) + PAGE_BYTES;
    let effect = regions.call(MemoryCall::Remap, [a, wrapping, PAGE_BYTES, MAY_MOVE, 0, 0], on(0));
    assert_eq!((effect.result, effect.operations.len()), (-i64::from(EINVAL), 0));
    assert_eq!(regions.lookup(a).map(|region| region.end), Some(a + 2 * PAGE_BYTES));
}

#[test]
fn only_anonymous_memory_is_discarded() {
    let mut regions = Regions::new(1 << 30);
    let start = pool_start(0);
    let region = |page: u64, backing| Region {
        start: start + page * PAGE_BYTES,
        end: start + (page + 1) * PAGE_BYTES,
        protection: READ_WRITE,
        backing,
    };
    regions.insert(region(0, Backing::Anonymous));
    regions.insert(region(1, Backing::Image));
    let advice = u64::from(linux::MADV_DONTNEED);
    let effect = regions.call(MemoryCall::Advise, [start, 2 * PAGE_BYTES, advice, 0, 0, 0], on(0));
    assert_eq!(effect.operations, [Operation::Discard(Range { start, length: PAGE_BYTES })]);
    let hint = u64::from(linux::MADV_WILLNEED);
    let effect = regions.call(MemoryCall::Advise, [start, 2 * PAGE_BYTES, hint, 0, 0, 0], on(0));
    assert_eq!((effect.result, effect.operations.len()), (0, 0));
}

#[test]
fn calls_that_change_nothing_fail_where_nothing_is_mapped() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, PAGE_BYTES, 0);
    for call in [MemoryCall::Synchronize, MemoryCall::Residency, MemoryCall::Lock] {
        assert_eq!(regions.call(call, [a, PAGE_BYTES, 0, 0, 0, 0], on(0)), Effect::new(0));
        assert_eq!(regions.call(call, [a, PAGE_BYTES + 1, 0, 0, 0, 0], on(0)), Effect::failure(ENOMEM));
    }
    let synchronize = |regions: &mut Regions, length, flags| {
        regions.call(MemoryCall::Synchronize, [a, length, u64::from(flags), 0, 0, 0], on(0)).result
    };
    assert_eq!(synchronize(&mut regions, u64::MAX, linux::MS_ASYNC), 0, "a length that wraps to none");
    // The first page is locked since the loop above.
    assert_eq!(synchronize(&mut regions, PAGE_BYTES, linux::MS_INVALIDATE), -i64::from(EBUSY));
    assert_eq!(synchronize(&mut regions, PAGE_BYTES, linux::MS_SYNC), 0);
    assert_eq!(regions.call(MemoryCall::UnlockAll, [u64::MAX; 6], on(0)), Effect::new(0));
    assert_eq!(synchronize(&mut regions, PAGE_BYTES, linux::MS_INVALIDATE), 0);
}

const FILE: FileNumber = FileNumber(7);

fn copied(node: u8) -> Caller {
    Caller { source: Source::Copied { file: FILE, size: 100 * PAGE_BYTES }, ..on(node) }
}

fn copied_file(regions: &mut Regions, pages: u64, protection: u64) -> u64 {
    const PRIVATE: u64 = linux::MAP_PRIVATE as u64;
    let arguments = [0, pages * PAGE_BYTES, protection, PRIVATE, 3, 5 * PAGE_BYTES];
    let effect = regions.call(MemoryCall::Map, arguments, copied(0));
    assert!(effect.result > 0);
    effect.result as u64
}

fn advise(regions: &mut Regions, start: u64, pages: u64, advice: u32) -> Effect {
    regions.call(MemoryCall::Advise, [start, pages * PAGE_BYTES, advice.into(), 0, 0, 0], on(0))
}

#[test]
fn a_discarded_copy_is_read_again_from_where_it_came() {
    let mut regions = Regions::new(1 << 30);
    let a = copied_file(&mut regions, 4, WRITABLE);
    let effect = advise(&mut regions, a + PAGE_BYTES, 2, linux::MADV_DONTNEED);
    let to = Range { start: a + PAGE_BYTES, length: 2 * PAGE_BYTES };
    assert_eq!(effect.operations, [Operation::ReadFile { to, file: FILE, offset: 6 * PAGE_BYTES }]);
    let clean = copied_file(&mut regions, 4, READ);
    assert_eq!(advise(&mut regions, clean, 4, linux::MADV_DONTNEED), Effect::new(0));
    let _ = regions.call(MemoryCall::Protect, [clean, PAGE_BYTES, WRITABLE, 0, 0, 0], on(0));
    let _ = regions.call(MemoryCall::Protect, [clean, PAGE_BYTES, READ, 0, 0, 0], on(0));
    let effect = advise(&mut regions, clean, 4, linux::MADV_DONTNEED);
    let to = Range { start: clean, length: PAGE_BYTES };
    assert_eq!(effect.operations[1], Operation::ReadFile { to, file: FILE, offset: 5 * PAGE_BYTES });
    assert_eq!(effect.operations.last(), Some(&Operation::Protect(to, PROT_READ)));
}

#[test]
fn advice_reaches_every_piece_and_tells_of_a_hole() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 40 * PAGE_BYTES, 0);
    for page in (1..40).step_by(2) {
        let _ = regions.call(MemoryCall::Protect, [a + page * PAGE_BYTES, PAGE_BYTES, READ, 0, 0, 0], on(0));
    }
    for advice in [linux::MADV_DONTNEED, linux::MADV_DONTNEED_LOCKED] {
        assert_eq!(advise(&mut regions, a, 40, advice).operations.len(), 40);
        assert_eq!(advise(&mut regions, a, 0, advice), Effect::new(0));
    }
    let _ = regions.call(MemoryCall::Unmap, [a + PAGE_BYTES, PAGE_BYTES, 0, 0, 0, 0], on(0));
    let effect = advise(&mut regions, a, 40, linux::MADV_DONTNEED);
    assert_eq!((effect.result, effect.operations.len()), (-i64::from(ENOMEM), 39));
    for unknown in [5, 7, 26, 100, u32::MAX] {
        assert_eq!(advise(&mut regions, a, 1, unknown), Effect::failure(EINVAL), "{unknown}");
    }
}

const INVALID: i64 = EINVAL as i64;
const DENIED: i64 = EACCES as i64;

#[test]
fn advice_is_refused_of_what_cannot_get_it() {
    let mut regions = Regions::new(1 << 30);
    let private = mapped(&mut regions, 4 * PAGE_BYTES, 0);
    let file = copied_file(&mut regions, 4, WRITABLE);
    let huge = mapped(&mut regions, 2 * EXTENT_BYTES, 0);
    for (advice, results) in [
        (linux::MADV_FREE, [0, -INVALID, 0]),
        (linux::MADV_WIPEONFORK, [0, -INVALID, 0]),
        (linux::MADV_REMOVE, [-INVALID, -DENIED, -INVALID]),
        (linux::MADV_COLLAPSE, [-INVALID, -INVALID, 0]),
        (linux::MADV_POPULATE_WRITE, [0; 3]),
        (linux::MADV_DONTNEED, [0; 3]),
    ] {
        for (start, result) in [private, file, huge].into_iter().zip(results) {
            assert_eq!(advise(&mut regions, start, 2, advice).result, result, "{advice} at {start:#x}");
        }
    }
    let _ = regions.call(MemoryCall::Protect, [private + PAGE_BYTES, PAGE_BYTES, READ, 0, 0, 0], on(0));
    assert_eq!(advise(&mut regions, private, 4, linux::MADV_POPULATE_READ).result, 0);
    assert_eq!(advise(&mut regions, private, 4, linux::MADV_POPULATE_WRITE).result, -INVALID);
    let _ = regions.call(MemoryCall::Unmap, [private, 4 * PAGE_BYTES, 0, 0, 0, 0], on(0));
    assert_eq!(advise(&mut regions, private, 4, linux::MADV_POPULATE_READ).result, -i64::from(ENOMEM));
}

#[test]
fn a_mapping_that_moves_can_leave_one_with_the_first_contents() {
    const STAYS: u64 = MAY_MOVE | linux::MREMAP_DONTUNMAP as u64;
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 2 * PAGE_BYTES, 0);
    let arguments = [a, 2 * PAGE_BYTES, 2 * PAGE_BYTES, STAYS, 0, 0];
    let moved = regions.call(MemoryCall::Remap, arguments, on(0));
    let old = Range { start: a, length: 2 * PAGE_BYTES };
    assert_eq!(moved.operations.last(), Some(&Operation::Discard(old)));
    assert_eq!(moved.forget, None);
    for start in [a, moved.result as u64] {
        assert_eq!(regions.lookup(start).map(|region| region.protection), Some(READ_WRITE));
    }
    let smaller = regions.call(MemoryCall::Remap, [a, 2 * PAGE_BYTES, PAGE_BYTES, STAYS, 0, 0], on(0));
    assert_eq!(smaller, Effect::failure(EINVAL));
}

#[test]
fn what_shrinks_may_have_anything_behind_its_first_page() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 4 * PAGE_BYTES, 0);
    let _ = regions.call(MemoryCall::Protect, [a + PAGE_BYTES, PAGE_BYTES, READ, 0, 0, 0], on(0));
    let _ = regions.call(MemoryCall::Unmap, [a + 2 * PAGE_BYTES, PAGE_BYTES, 0, 0, 0, 0], on(0));
    let remap = |regions: &mut Regions, new: u64| {
        regions.call(MemoryCall::Remap, [a, 4 * PAGE_BYTES, new, MAY_MOVE, 0, 0], on(0)).result
    };
    assert_eq!(remap(&mut regions, 4 * PAGE_BYTES) as u64, a);
    assert_eq!(remap(&mut regions, 5 * PAGE_BYTES), -i64::from(EFAULT));
    assert_eq!(remap(&mut regions, PAGE_BYTES) as u64, a);
    assert_eq!(regions.iter().count(), 1);
    assert_eq!(remap(&mut regions, 1 << 47), -i64::from(EINVAL));
}

#[test]
fn a_copy_that_grows_shows_more_of_its_file() {
    let mut regions = Regions::new(1 << 30);
    let a = copied_file(&mut regions, 2, WRITABLE);
    let remap = |regions: &mut Regions, pages: u64, more: u64| {
        let arguments = [a, pages * PAGE_BYTES, more * PAGE_BYTES, MAY_MOVE, 0, 0];
        regions.call(MemoryCall::Remap, arguments, on(0))
    };
    let grown = remap(&mut regions, 2, 3);
    let tail = Range { start: a + 2 * PAGE_BYTES, length: PAGE_BYTES };
    assert!(grown.operations.contains(&Operation::ReadFile { to: tail, file: FILE, offset: 7 * PAGE_BYTES }));
    let _ = mapped(&mut regions, PAGE_BYTES, 0);
    let moved = remap(&mut regions, 3, 5);
    let start = moved.result as u64;
    assert_ne!(start, a);
    let tail = Range { start: start + 3 * PAGE_BYTES, length: 2 * PAGE_BYTES };
    assert!(moved.operations.contains(&Operation::ReadFile { to: tail, file: FILE, offset: 8 * PAGE_BYTES }));
    assert_eq!(regions.files().collect::<Vec<_>>(), [FILE]);
    let _ = regions.call(MemoryCall::Unmap, [start, 5 * PAGE_BYTES, 0, 0, 0, 0], on(0));
    assert_eq!(regions.files().count(), 0);
}

#[test]
fn a_copy_ends_where_its_file_does_and_the_kernel_maps_the_rest() {
    let mut regions = Regions::new(1 << 30);
    let map = |regions: &mut Regions, address, pages, size, flags: u32| {
        let flags = u64::from(linux::MAP_PRIVATE | flags);
        let arguments = [address, pages * PAGE_BYTES, READ, flags, 3, 5 * PAGE_BYTES];
        regions.call(
            MemoryCall::Map,
            arguments,
            Caller { source: Source::Copied { file: FILE, size }, ..on(0) },
        )
    };
    let backing = |regions: &Regions, address| regions.lookup(address).map(|region| region.backing);
    let kernel = Some(Backing::Kernel(KernelMapping::Plain));
    // The file ends in the middle of its seventh page.
    let effect = map(&mut regions, 0, 4, 6 * PAGE_BYTES + 1, 0);
    let start = effect.result as u64;
    let (copy, rest) = Range { start, length: 4 * PAGE_BYTES }.split_at(2 * PAGE_BYTES);
    assert_eq!(
        effect.operations[3..],
        [
            Operation::ReadFile { to: copy, file: FILE, offset: 5 * PAGE_BYTES },
            Operation::Protect(copy, PROT_READ),
            Operation::MapFile { at: rest, file: FILE, offset: 7 * PAGE_BYTES },
            Operation::Protect(rest, PROT_READ),
        ]
    );
    assert!(matches!(backing(&regions, start), Some(Backing::File { .. })));
    assert_eq!(backing(&regions, rest.start), kernel);
    // It begins behind the end: all of it is the kernel's, and what was there is gone.
    let effect = map(&mut regions, start, 2, PAGE_BYTES, linux::MAP_FIXED);
    assert_eq!(
        effect.operations[..],
        [
            Operation::Unmap(copy),
            Operation::Discard(copy),
            Operation::MapFile { at: copy, file: FILE, offset: 5 * PAGE_BYTES },
            Operation::Protect(copy, PROT_READ),
        ]
    );
    assert_eq!(regions.lookup(start).map(|region| region.end), Some(rest.start + rest.length));
    // More than could be copied.
    let effect = map(&mut regions, 0, 1 << 18, 1 << 40, 0);
    assert_eq!(backing(&regions, effect.result as u64), kernel);
    assert_eq!(regions.files().count(), 0);
}

#[test]
fn a_copy_and_what_the_kernel_maps_behind_it_are_remapped_as_one() {
    let mut regions = Regions::new(1 << 30);
    let caller = Caller { source: Source::Copied { file: FILE, size: PAGE_BYTES }, ..on(0) };
    let arguments = [0, 3 * PAGE_BYTES, READ, u64::from(linux::MAP_PRIVATE), 3, 0];
    let start = regions.call(MemoryCall::Map, arguments, caller).result as u64;
    let _ = mapped(&mut regions, PAGE_BYTES, 0);
    let remap = |regions: &mut Regions, old, new, flags| {
        regions.call(MemoryCall::Remap, [start, old * PAGE_BYTES, new * PAGE_BYTES, flags, 0, 0], on(0))
    };
    assert_eq!(remap(&mut regions, 3, 4, 0), Effect::failure(ENOMEM));
    assert_eq!(remap(&mut regions, 3, 2, 0).result as u64, start);
    assert_eq!(regions.lookup(start + 2 * PAGE_BYTES), None);
    let effect = remap(&mut regions, 2, 5, MAY_MOVE);
    let moved = effect.result as u64;
    let kept = Range { start: moved, length: PAGE_BYTES };
    assert!(moved != start && effect.operations.contains(&Operation::Copy { to: kept, from: start }));
    let tail = Range { start: start + PAGE_BYTES, length: PAGE_BYTES };
    assert_eq!(effect.operations[0], Operation::Unmap(tail));
    let range = effect.forget.expect("something was unmapped");
    assert!(range.start <= start && range.start + range.length >= start + 2 * PAGE_BYTES);
    assert_eq!(regions.lookup(start), None);
    assert_eq!(regions.lookup(start + PAGE_BYTES), None);
    assert_eq!(regions.lookup(moved).map(|region| region.end), Some(moved + 5 * PAGE_BYTES));
}

#[test]
fn the_kernels_own_mappings_are_left_to_the_kernel() {
    let mut regions = Regions::new(1 << 30);
    let kernel = Caller { source: Source::Kernel, ..on(0) };
    let flags = u64::from(linux::MAP_SHARED);
    let map = regions.call(MemoryCall::Map, [0, 2 * PAGE_BYTES, WRITABLE, flags, 3, 0], kernel);
    let a = map.result as u64;
    assert_eq!(map.operations, []);
    let whole = Range { start: a, length: 2 * PAGE_BYTES };
    let arguments = [a, 2 * PAGE_BYTES, u64::from(linux::MS_SYNC), 0, 0, 0];
    assert_eq!(regions.call(MemoryCall::Synchronize, arguments, on(0)).operations, [Operation::Call(whole)]);
    assert_eq!(advise(&mut regions, a, 2, linux::MADV_WILLNEED).operations, [Operation::Call(whole)]);
    let grown = regions.call(MemoryCall::Remap, [a, 2 * PAGE_BYTES, 3 * PAGE_BYTES, 0, 0, 0], on(0));
    let to = Range { start: a, length: 3 * PAGE_BYTES };
    assert_eq!(grown.operations, [Operation::Move { from: a, to }]);
}

#[test]
fn nothing_is_placed_where_a_mapping_may_grow() {
    let mut regions = Regions::new(1 << 30);
    let kernel = Caller { source: Source::Kernel, ..on(0) };
    let start = pool_start(0) + (6 << 20);
    let flags = ANONYMOUS | u64::from(linux::MAP_FIXED | linux::MAP_GROWSDOWN);
    let _ = regions.call(MemoryCall::Map, [start, PAGE_BYTES, WRITABLE, flags, u64::MAX, 0], kernel);
    assert!(mapped(&mut regions, PAGE_BYTES, 0) > start);
    assert_eq!(regions.lookup(start - PAGE_BYTES), None);
    assert_eq!(regions.reach(start - PAGE_BYTES).map(|region| region.start), Some(start));
    assert_eq!(regions.reach(LARGE.start), None);
}

#[test]
fn limits_are_met_where_the_kernel_meets_them() {
    let mut regions = Regions::new(1 << 30);
    regions.set_break(LARGE.start);
    let limited = |address_space, data, locked| {
        let limits = Limits { address_space, data, locked };
        Caller { limits, ..on(0) }
    };
    let none = u64::MAX;
    let map = |regions: &mut Regions, protection, caller| {
        regions.call(MemoryCall::Map, [0, 4 * PAGE_BYTES, protection, ANONYMOUS, none, 0], caller).result
    };
    assert!(map(&mut regions, READ, limited(4 * PAGE_BYTES, 0, none)) > 0, "what is not written is no data");
    assert_eq!(map(&mut regions, READ, limited(7 * PAGE_BYTES, none, none)), -i64::from(ENOMEM));
    assert_eq!(map(&mut regions, WRITABLE, limited(none, 3 * PAGE_BYTES, none)), -i64::from(ENOMEM));
    let full = limited(none, 0, none);
    let up = regions.call(MemoryCall::Break, [LARGE.start + PAGE_BYTES, 0, 0, 0, 0, 0], full);
    assert_eq!(up.result as u64, LARGE.start, "the break stays and is no error");
    let a = mapped(&mut regions, 4 * PAGE_BYTES, 0);
    let lock = |regions: &mut Regions, pages: u64, limit| {
        regions.call(MemoryCall::Lock, [a, pages * PAGE_BYTES, 0, 0, 0, 0], limited(none, none, limit)).result
    };
    assert_eq!(lock(&mut regions, 1, 0), -i64::from(linux_raw_sys::errno::EPERM));
    assert_eq!(lock(&mut regions, 2, 2 * PAGE_BYTES), 0);
    assert_eq!(lock(&mut regions, 2, 2 * PAGE_BYTES), 0, "what is locked already counts once");
    assert_eq!(lock(&mut regions, 3, 2 * PAGE_BYTES), -i64::from(ENOMEM));
    let all = [0, !(PAGE_BYTES - 1), 0, 0, 0, 0];
    let locked = regions.call(MemoryCall::Lock, all, limited(none, none, 2 * PAGE_BYTES));
    assert_eq!(locked.result, -i64::from(ENOMEM), "more than numbers hold");
    let _ = regions.call(MemoryCall::Unmap, [a, PAGE_BYTES, 0, 0, 0, 0], on(0));
    assert_eq!(lock(&mut regions, 4, none), -i64::from(ENOMEM), "there is a hole");
}

#[test]
fn a_segment_is_detached_by_its_address() {
    let mut regions = Regions::new(1 << 30);
    let segment = Caller { source: Source::Segment, ..on(0) };
    let flags = u64::from(linux::MAP_SHARED | linux::MAP_ANONYMOUS);
    let attach = |regions: &mut Regions| {
        let arguments = [0, 2 * PAGE_BYTES, WRITABLE, flags, u64::MAX, 0];
        regions.call(MemoryCall::Map, arguments, segment).result as u64
    };
    let (a, b) = (attach(&mut regions), attach(&mut regions));
    let detach = |regions: &mut Regions, at| regions.call(MemoryCall::Detach, [at, 0, 0, 0, 0, 0], on(0));
    assert_eq!(detach(&mut regions, a + PAGE_BYTES), Effect::failure(EINVAL));
    assert_eq!(detach(&mut regions, a).result, 0);
    assert_eq!(
        (regions.lookup(a), regions.lookup(b).map(|region| region.end)),
        (None, Some(b + 2 * PAGE_BYTES))
    );
    assert_eq!(detach(&mut regions, a), Effect::failure(EINVAL));
}
