//! The results and operations of single calls, where a reader may want to see them.

use super::*;
use linux_raw_sys::errno::{EEXIST, EFAULT};
use linux_raw_sys::general as linux;

const ANONYMOUS: u64 = (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS) as u64;
const MAY_MOVE: u64 = linux::MREMAP_MAYMOVE as u64;
const READ: u64 = PROT_READ as u64;
const WRITABLE: u64 = READ_WRITE as u64;

fn mapped(regions: &mut Regions, length: u64, node: u8) -> u64 {
    let effect = regions.call(MemoryCall::Map, [0, length, WRITABLE, ANONYMOUS, u64::MAX, 0], node);
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
fn unmapping_the_middle_splits_and_is_forgotten_elsewhere() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 3 * PAGE_BYTES, 0);
    let effect = regions.call(MemoryCall::Unmap, [a + PAGE_BYTES, PAGE_BYTES, 0, 0, 0, 0], 0);
    assert_eq!(effect.forget, Some(Range { start: a + PAGE_BYTES, length: PAGE_BYTES }));
    assert!(regions.lookup(a).is_some() && regions.lookup(a + PAGE_BYTES).is_none());
    assert!(regions.lookup(a + 2 * PAGE_BYTES).is_some());
}

#[test]
fn only_taking_rights_away_is_forgotten_elsewhere() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 4 * PAGE_BYTES, 0);
    let less = regions.call(MemoryCall::Protect, [a, PAGE_BYTES, READ, 0, 0, 0], 0);
    assert!(less.forget.is_some());
    let more = regions.call(MemoryCall::Protect, [a, PAGE_BYTES, WRITABLE, 0, 0, 0], 0);
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
    let huge = regions.call(MemoryCall::Map, [0, 1 << 40, WRITABLE, ANONYMOUS, u64::MAX, 0], 0);
    assert_eq!(huge.result, -i64::from(ENOMEM));
    let reserved = regions.call(MemoryCall::Map, [0, 1 << 40, 0, ANONYMOUS, u64::MAX, 0], 0);
    assert!(reserved.result > 0);
}

#[test]
fn fixed_mappings_replace_and_no_replace_refuses() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 2 * PAGE_BYTES, 0);
    let flags = ANONYMOUS | u64::from(linux::MAP_FIXED_NOREPLACE);
    assert_eq!(
        regions.call(MemoryCall::Map, [a, PAGE_BYTES, WRITABLE, flags, 0, 0], 0).result,
        -i64::from(EEXIST)
    );
    let over = regions.call(
        MemoryCall::Map,
        [a, PAGE_BYTES, READ, ANONYMOUS | u64::from(linux::MAP_FIXED), 0, 0],
        0,
    );
    assert_eq!(over.result as u64, a);
    assert!(over.operations.iter().any(|operation| matches!(operation, Operation::Discard(_))));
    assert_eq!(regions.lookup(a).map(|r| r.protection), Some(PROT_READ));
}

#[test]
fn remap_grows_in_place_or_moves() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, PAGE_BYTES, 0);
    let grown = regions.call(MemoryCall::Remap, [a, PAGE_BYTES, 2 * PAGE_BYTES, MAY_MOVE, 0, 0], 0);
    assert_eq!(grown.result as u64, a);
    let b = mapped(&mut regions, PAGE_BYTES, 0);
    assert_eq!(b, a + 2 * PAGE_BYTES);
    let _ = regions.call(MemoryCall::Protect, [b, PAGE_BYTES, READ, 0, 0, 0], 0);
    let moved = regions.call(MemoryCall::Remap, [a, 2 * PAGE_BYTES, 8 * PAGE_BYTES, MAY_MOVE, 0, 0], 0);
    assert_ne!(moved.result as u64, a);
    assert!(regions.lookup(a).is_none());
    assert!(moved.operations.len() <= banyan_wire::stub::ACTIONS_MAX);
}

#[test]
fn the_break_moves_both_ways() {
    let mut regions = Regions::new(1 << 30);
    regions.set_break(pool_start(0) + 0x100);
    let start = regions.call(MemoryCall::Break, [0; 6], 0).result as u64;
    let up = regions.call(MemoryCall::Break, [start + 10_000, 0, 0, 0, 0, 0], 0);
    assert_eq!((up.result as u64, up.operations.len()), (start + 10_000, 3));
    let down = regions.call(MemoryCall::Break, [start, 0, 0, 0, 0, 0], 0);
    assert_eq!(down.result as u64, start);
    assert!(regions.lookup(start + 8192).is_none());
}

#[test]
fn a_length_that_wraps_around_is_no_mapping() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, 2 * PAGE_BYTES, 0);
    let wrapping = 0_u64.wrapping_sub(a) + PAGE_BYTES;
    let effect = regions.call(MemoryCall::Remap, [a, wrapping, PAGE_BYTES, MAY_MOVE, 0, 0], 0);
    assert_eq!((effect.result, effect.operations.len()), (-i64::from(EFAULT), 0));
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
    regions.insert(region(1, Backing::File));
    let advice = u64::from(linux::MADV_DONTNEED);
    let effect = regions.call(MemoryCall::Advise, [start, 2 * PAGE_BYTES, advice, 0, 0, 0], 0);
    assert_eq!(effect.operations, [Operation::Discard(Range { start, length: PAGE_BYTES })]);
    let hint = u64::from(linux::MADV_WILLNEED);
    let effect = regions.call(MemoryCall::Advise, [start, 2 * PAGE_BYTES, hint, 0, 0, 0], 0);
    assert_eq!((effect.result, effect.operations.len()), (0, 0));
}

#[test]
fn calls_that_change_nothing_fail_where_nothing_is_mapped() {
    let mut regions = Regions::new(1 << 30);
    let a = mapped(&mut regions, PAGE_BYTES, 0);
    for call in [MemoryCall::Synchronize, MemoryCall::Residency, MemoryCall::Pin] {
        assert_eq!(regions.call(call, [a, PAGE_BYTES, 0, 0, 0, 0], 0), Effect::new(0));
        assert_eq!(regions.call(call, [a, PAGE_BYTES + 1, 0, 0, 0, 0], 0), Effect::failure(ENOMEM));
    }
    assert_eq!(regions.call(MemoryCall::PinAll, [u64::MAX; 6], 0), Effect::new(0));
}
