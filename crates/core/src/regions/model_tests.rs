//! Random calls against a map of single pages: what is mapped, and with which rights, is the same after every
//! call.

use super::tests::on;
use super::*;
use alloc::vec;
use alloc::vec::Vec;
use linux_raw_sys::errno::ENOMEM;
use linux_raw_sys::general as linux;
use proptest::prelude::*;

/// Pages of the window in which fixed addresses lie.
const WINDOW: u64 = 24;

#[derive(Clone, Copy, Debug)]
enum Step {
    MapAt { page: u64, count: u64, protection: u32 },
    MapAnywhere { count: u64, protection: u32, node: u8 },
    Unmap { page: u64, count: u64 },
    Protect { page: u64, count: u64, protection: u32 },
    Remap { page: u64, count: u64, new_count: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (page, count) = (0..WINDOW, 1..6_u64);
    let protection = prop::sample::select(vec![0, PROT_READ, READ_WRITE]);
    prop_oneof![
        (page.clone(), count.clone(), protection.clone()).prop_map(|(page, count, protection)| Step::MapAt {
            page,
            count,
            protection
        }),
        (count.clone(), protection.clone(), 0..3_u8)
            .prop_map(|(count, protection, node)| Step::MapAnywhere { count, protection, node }),
        (page.clone(), count.clone()).prop_map(|(page, count)| Step::Unmap { page, count }),
        (page.clone(), count.clone(), protection).prop_map(|(page, count, protection)| Step::Protect {
            page,
            count,
            protection
        }),
        (page, count.clone(), count).prop_map(|(page, count, new_count)| Step::Remap {
            page,
            count,
            new_count
        }),
    ]
}

/// Rights by address of a page.
type Pages = BTreeMap<u64, u32>;

fn addresses(start: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |page| start + page * PAGE_BYTES)
}

fn at(page: u64) -> u64 {
    pool_start(0) + page * PAGE_BYTES
}

/// Makes the call, and changes the pages as a kernel would.
fn perform(regions: &mut Regions, pages: &mut Pages, step: Step) {
    const ANONYMOUS: u64 = (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS) as u64;
    const FIXED: u64 = linux::MAP_FIXED as u64;
    match step {
        Step::MapAt { page, count, protection } => {
            let arguments = [at(page), count * PAGE_BYTES, protection.into(), ANONYMOUS | FIXED, u64::MAX, 0];
            let effect = regions.call(MemoryCall::Map, arguments, on(0));
            assert_eq!(effect.result as u64, at(page));
            let occupied = addresses(at(page), count).any(|address| pages.contains_key(&address));
            assert_eq!(effect.forget.is_some(), occupied, "{step:?}");
            pages.extend(addresses(at(page), count).map(|address| (address, protection)));
        }
        Step::MapAnywhere { count, protection, node } => {
            let arguments = [0, count * PAGE_BYTES, protection.into(), ANONYMOUS, u64::MAX, 0];
            let effect = regions.call(MemoryCall::Map, arguments, on(node));
            let start = effect.result as u64;
            assert_eq!(banyan_wire::address_space::pool_node(start), node);
            for address in addresses(start, count) {
                assert_eq!(pages.insert(address, protection), None, "{step:?}");
            }
        }
        Step::Unmap { page, count } => {
            let arguments = [at(page), count * PAGE_BYTES, 0, 0, 0, 0];
            assert_eq!(regions.call(MemoryCall::Unmap, arguments, on(0)).result, 0);
            pages.retain(|address, _| !addresses(at(page), count).any(|gone| gone == *address));
        }
        Step::Protect { page, count, protection } => {
            let arguments = [at(page), count * PAGE_BYTES, protection.into(), 0, 0, 0];
            let result = regions.call(MemoryCall::Protect, arguments, on(0)).result;
            let mapped = addresses(at(page), count).all(|address| pages.contains_key(&address));
            assert_eq!(result, if mapped { 0 } else { -i64::from(ENOMEM) }, "{step:?}");
            if mapped {
                pages.extend(addresses(at(page), count).map(|address| (address, protection)));
            }
        }
        Step::Remap { page, count, new_count } => {
            let flags = u64::from(linux::MREMAP_MAYMOVE);
            let arguments = [at(page), count * PAGE_BYTES, new_count * PAGE_BYTES, flags, 0, 0];
            let result = regions.call(MemoryCall::Remap, arguments, on(0)).result;
            let protection = pages.get(&at(page)).copied();
            if new_count <= count && protection.is_some() {
                // Whatever is behind the first page.
                assert_eq!(result as u64, at(page), "{step:?}");
                for address in addresses(at(page + new_count), count - new_count) {
                    pages.remove(&address);
                }
                return;
            }
            let whole = addresses(at(page), count).all(|address| pages.get(&address).copied() == protection);
            let Some(protection) = protection.filter(|_| whole) else {
                assert!(result < 0, "{step:?}");
                return;
            };
            for address in addresses(at(page), count) {
                pages.remove(&address);
            }
            for address in addresses(result as u64, new_count) {
                assert_eq!(pages.insert(address, protection), None, "{step:?}");
            }
        }
    }
}

fn check(regions: &Regions, pages: &Pages) {
    let all: Vec<Region> = regions.iter().copied().collect();
    for pair in all.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{pair:?} overlap");
        let alike = pair[0].protection == pair[1].protection && pair[0].backing == pair[1].backing;
        assert!(pair[0].end < pair[1].start || !alike, "{pair:?} are one");
    }
    let flat: Pages = all
        .iter()
        .flat_map(|region| {
            addresses(region.start, (region.end - region.start) / PAGE_BYTES)
                .map(|address| (address, region.protection))
        })
        .collect();
    assert_eq!(&flat, pages);
}

proptest! {
    #[test]
    fn the_map_is_what_single_pages_say(steps in prop::collection::vec(step(), 1..60)) {
        let (mut regions, mut pages) = (Regions::new(1 << 30), Pages::new());
        for step in steps {
            perform(&mut regions, &mut pages, step);
            check(&regions, &pages);
        }
    }
}
