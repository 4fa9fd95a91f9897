//! What the caller has in the place of a library's code: for each function an entry that calls the worker.
//!
//! A program may get the address of any function from a library, at any byte. An entry is a call of the
//! hub, whose return address says which function was meant; short functions that lie close together share
//! bytes, or jump to a call elsewhere. Not for the functions that a library exports: those have entries in
//! the drop-in.

use std::ops::Range;

/// Bytes of a call, and of a short jump.
const CALL: usize = 5;
const JUMP: usize = 2;
const CALL_CODE: u8 = 0xe8;
const JUMP_CODE: u8 = 0xeb;
const RETURN_CODE: u8 = 0xc3;
const TRAP_CODE: u8 = 0xcc;
/// Where compilers put functions, when they are free to choose.
const ALIGNMENT: usize = 16;
/// How far a short jump reaches, either way.
const REACH: usize = 120;

/// Distances of the hub below the code for which the last byte of each call is the first of another: so
/// calls fit four bytes apart.
const OVERLAPPING: Range<u64> = 0x1700_0000..0x1800_0000;

/// Entries for one range of code.
#[derive(Debug)]
pub(super) struct Entries {
    /// What stands in the place of the code.
    pub(super) code: Vec<u8>,
    /// Calls that stand for a function elsewhere: the call's address and the function's, in order.
    pub(super) aliases: Vec<(u64, u64)>,
}

/// Addresses at which the hub of code in `range` may be, best first.
pub(super) fn hub_places(range: &Range<u64>) -> impl Iterator<Item = u64> {
    const STEP: u64 = 64 << 10;
    let (start, end) = (range.start, range.end);
    let first = end.saturating_sub(OVERLAPPING.end) + STEP;
    let last = start.saturating_sub(OVERLAPPING.start + STEP);
    let overlapping = (first..last).step_by(STEP as usize);
    let behind = (1..512).map(move |step| end + (step << 20));
    overlapping.map(|place| place & !4095).chain(behind)
}

impl Entries {
    /// Entries for code in `range` with functions at the offsets `starts`, which may be any. Where there is
    /// none near, each address that compilers prefer gets one.
    pub(super) fn new(range: &Range<u64>, starts: &[u32], hub: u64) -> Self {
        let length = (range.end - range.start) as usize;
        let mut starts: Vec<usize> =
            starts.iter().map(|&start| start as usize).filter(|&start| start < length).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut all = Self { code: vec![TRAP_CODE; length], aliases: Vec::new() };
        let mut is_used = vec![false; length];
        let can_overlap = OVERLAPPING.contains(&range.start.wrapping_sub(hub))
            && OVERLAPPING.contains(&(range.end + CALL as u64).wrapping_sub(hub));
        let mut jumps = Vec::new();
        // Backwards: how the next one begins is known then.
        let mut next = length;
        for &start in starts.iter().rev() {
            let space = next - start;
            if space >= CALL || space == CALL - 1 && can_overlap && all.code.get(next) == Some(&CALL_CODE) {
                all.call(start, range.start, hub);
                is_used[start..start + CALL.min(space)].fill(true);
            } else if space >= JUMP {
                jumps.push(start);
                all.code[start] = JUMP_CODE;
                is_used[start..start + JUMP].fill(true);
            } else {
                // All that a function of one byte can do.
                all.code[start] = RETURN_CODE;
                is_used[start] = true;
            }
            next = start;
        }
        // Forwards, and the first place within reach: so as many find one as can.
        for start in jumps.into_iter().rev() {
            let near = start.saturating_sub(REACH)..(start + REACH).min(length.saturating_sub(CALL));
            let is_free = |&place: &usize| is_used[place..place + CALL].iter().all(|used| !used);
            if let Some(place) = near.into_iter().find(is_free) {
                all.code[start + 1] = (place as i64 - (start + JUMP) as i64) as u8;
                all.call(place, range.start, hub);
                is_used[place..place + CALL].fill(true);
                all.aliases.push((range.start + place as u64, range.start + start as u64));
            } else {
                all.code[start] = TRAP_CODE;
            }
        }
        for place in (0..length.saturating_sub(CALL - 1)).step_by(ALIGNMENT) {
            if is_used[place..place + CALL].iter().all(|used| !used) {
                all.call(place, range.start, hub);
            }
        }
        all.aliases.sort_unstable();
        all
    }

    fn call(&mut self, place: usize, start: u64, hub: u64) {
        let displacement = hub.wrapping_sub(start + (place + CALL) as u64) as u32;
        self.code[place] = CALL_CODE;
        // The last byte may be the next entry's first, and the same.
        let room = self.code.len().min(place + CALL) - place - 1;
        self.code[place + 1..=place + room].copy_from_slice(&displacement.to_le_bytes()[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range<u64> = 0x7000_0000_0000..0x7000_0000_2000;

    /// Which address a call of `address` passes to the hub; `None` for a return at once.
    fn called(entries: &Entries, address: u64, hub: u64) -> Option<u64> {
        let mut at = (address - RANGE.start) as usize;
        if entries.code[at] == JUMP_CODE {
            at = (at as i64 + 2 + i64::from(entries.code[at + 1] as i8)) as usize;
        }
        if entries.code[at] == RETURN_CODE {
            return None;
        }
        assert_eq!(entries.code[at], CALL_CODE, "{address:#x}");
        let bytes = entries.code[at + 1..at + 5].try_into().unwrap();
        let back = RANGE.start + at as u64 + 5;
        assert_eq!(back.wrapping_add_signed(i32::from_le_bytes(bytes).into()), hub, "{address:#x}");
        let told = back - 5;
        let alias = entries.aliases.binary_search_by_key(&told, |alias| alias.0);
        Some(alias.map_or(told, |found| entries.aliases[found].1))
    }

    #[test]
    fn each_function_has_an_entry_however_close_they_lie() {
        // Lengths as of functions built for size, in runs, with a long one among them.
        for lengths in [&[16][..], &[4, 4, 4, 4, 4, 4, 4, 4, 37], &[3, 40], &[2, 5, 6, 3, 4, 21], &[1, 4, 30]]
        {
            let mut starts = vec![7_u32];
            for length in lengths.iter().cycle() {
                let next = starts.last().unwrap() + length;
                if next > 0x1f00 {
                    break;
                }
                starts.push(next);
            }
            for hub in [hub_places(&RANGE).next().unwrap(), RANGE.end + (1 << 20)] {
                if hub > RANGE.end && lengths.len() == 9 {
                    // This many calls in a row fit only where they may overlap.
                    continue;
                }
                let entries = Entries::new(&RANGE, &starts, hub);
                for pair in starts.windows(2) {
                    let address = RANGE.start + u64::from(pair[0]);
                    let expected = (pair[1] - pair[0] > 1).then_some(address);
                    assert_eq!(called(&entries, address, hub), expected, "{lengths:?}");
                }
            }
        }
    }

    #[test]
    fn where_no_function_is_known_each_aligned_address_has_an_entry() {
        let hub = RANGE.end + (1 << 20);
        let entries = Entries::new(&RANGE, &[], hub);
        for address in RANGE.step_by(16) {
            assert_eq!(called(&entries, address, hub), Some(address));
        }
    }

    /// The starts come from the process that loads the library, which may say anything.
    #[test]
    fn no_starts_crash_the_caller() {
        let hub = hub_places(&RANGE).next().unwrap();
        let length = (RANGE.end - RANGE.start) as u32;
        for starts in [&[length - 4][..], &[length - 1], &[length, u32::MAX], &[64, 32, 96], &[32, 32]] {
            for hub in [hub, RANGE.end + (1 << 20)] {
                assert_eq!(Entries::new(&RANGE, starts, hub).code.len(), length as usize, "{starts:?}");
            }
        }
        let entries = Entries::new(&RANGE, &[64, 32, 32], hub);
        assert_eq!(called(&entries, RANGE.start + 32, hub), Some(RANGE.start + 32));
    }
}
