//! Addresses of a library's exported functions: each side has its own, and each gets its own.
//!
//! A program compares them, and hands them to the library: `addr() == exported`, or a `free` for what it
//! gives. An argument that is the drop-in's entry becomes the function's address in the worker, so that the
//! library calls it there and knows it for its own; a result that is a function's address in the worker
//! becomes the one that the program has for the name. Only arguments in registers and results: in memory each
//! side finds the other's address, which it can call all the same (`connection::entries`, a call-back).
//!
//! Made when the library is opened; afterwards nothing changes, and a call allocates nothing.

use crate::shared::frame::Registers;
use crate::shared::service::{Segment, SegmentKind};
use std::ops::Range;

/// A function that both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Its address in the worker.
    pub(crate) there: u64,
    /// The program's address for its name.
    pub(crate) here: u64,
}

/// What lies at the program's address for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// The program's own entry for the library's function: what the program means by its address.
    OwnEntry,
    /// The drop-in's entry.
    Entry,
    /// Perhaps a function of the program's of that name.
    Unknown,
}

/// The exported functions of one library.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    /// The library's code, as far as exported functions lie in it.
    code: Range<u64>,
    by_there: Vec<Pair>,
    /// Those whose address here is an entry for the library's function: no other can be meant.
    by_entry: Vec<Pair>,
    /// Where those entries lie. They are the drop-in's or the program's, in one piece either way.
    entries: Range<u64>,
}

fn span(addresses: impl Iterator<Item = u64> + Clone) -> Range<u64> {
    let end = addresses.clone().max().map_or(0, |last| last + 1);
    addresses.min().unwrap_or(0)..end
}

impl Functions {
    /// Those of `pairs` whose address there lies in the library's code, as `segments` has it: it is another
    /// process's word. `meaning` is that of an address here. Of several names for one function that counts
    /// which the program uses, or else the first.
    pub(crate) fn new(
        pairs: impl Iterator<Item = Pair>,
        segments: &[Segment],
        meaning: impl Fn(u64) -> Meaning,
    ) -> Self {
        let is_code = |address: u64| {
            segments.iter().any(|segment| {
                matches!(segment.kind, SegmentKind::Code { .. })
                    && (segment.address..segment.address + segment.length).contains(&address)
            })
        };
        let pairs = pairs.filter(|pair| pair.here != 0 && is_code(pair.there));
        let mut all: Vec<(Meaning, Pair)> = pairs.map(|pair| (meaning(pair.here), pair)).collect();
        let entries = all.iter().filter(|(meaning, _)| *meaning != Meaning::Unknown);
        let mut by_entry: Vec<Pair> = entries.map(|(_, pair)| *pair).collect();
        // Stable: of equals the first stays the first.
        all.sort_by_key(|(meaning, pair)| (pair.there, *meaning));
        let mut by_there: Vec<Pair> = all.into_iter().map(|(_, pair)| pair).collect();
        by_there.dedup_by_key(|pair| pair.there);
        by_entry.sort_by_key(|pair| pair.here);
        by_entry.dedup_by_key(|pair| pair.here);
        let code = span(by_there.iter().map(|pair| pair.there));
        let entries = span(by_entry.iter().map(|pair| pair.here));
        Self { code, by_there, entries, by_entry }
    }

    /// Makes a call with the worker's addresses for the program's in the registers of arguments, and the
    /// other way round in the result.
    pub(crate) fn exchange<E>(
        &self,
        registers: &mut Registers,
        call: impl FnOnce(&mut Registers) -> Result<(), E>,
    ) -> Result<(), E> {
        for argument in &mut registers.general {
            *argument = self.to_worker(*argument);
        }
        call(registers)?;
        registers.rax = self.to_program(registers.rax);
        Ok(())
    }

    /// What an argument is for the worker.
    #[inline]
    fn to_worker(&self, value: u64) -> u64 {
        if !self.entries.contains(&value) {
            return value;
        }
        let found = self.by_entry.binary_search_by_key(&value, |pair| pair.here);
        found.map_or(value, |index| self.by_entry[index].there)
    }

    /// What a result is for the program.
    #[inline]
    fn to_program(&self, value: u64) -> u64 {
        if !self.code.contains(&value) {
            return value;
        }
        let found = self.by_there.binary_search_by_key(&value, |pair| pair.there);
        found.map_or(value, |index| self.by_there[index].here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: u64 = 0x7000_0000_0000;

    fn made(pairs: &[(u64, u64)]) -> Functions {
        let kind = SegmentKind::Code { starts: Vec::new() };
        let segments = [Segment { address: CODE, length: 0x1000, kind }];
        let pairs = pairs.iter().map(|&(there, here)| Pair { there, here });
        Functions::new(pairs, &segments, |here| match here {
            0..0x1000 => Meaning::OwnEntry,
            0x1000..0x2000 => Meaning::Entry,
            _ => Meaning::Unknown,
        })
    }

    #[test]
    fn each_side_gets_its_own_address() {
        let functions = made(&[(CODE + 0x20, 0x1010), (CODE + 0x10, 0x1020), (CODE + 0x30, 0x5000)]);
        assert_eq!(functions.to_worker(0x1010), CODE + 0x20);
        assert_eq!(functions.to_worker(0x1020), CODE + 0x10);
        assert_eq!(functions.to_program(CODE + 0x20), 0x1010);
        assert_eq!(functions.to_program(CODE + 0x30), 0x5000);
        // What is no function's address stays, and so does an address that may be the program's own function.
        for value in [0, 0x1000, 0x1011, 0x1018, 0x5000, CODE, CODE + 0x11, u64::MAX] {
            assert_eq!((functions.to_worker(value), functions.to_program(value)), (value, value));
        }
    }

    #[test]
    fn of_several_names_the_first_counts_and_all_lead_there() {
        let functions = made(&[(CODE, 0x1030), (CODE, 0x1010)]);
        assert_eq!(functions.to_program(CODE), 0x1030);
        assert_eq!((functions.to_worker(0x1010), functions.to_worker(0x1030)), (CODE, CODE));
        let functions = made(&[(CODE, 0x1030), (CODE, 0x800), (CODE, 0x700), (CODE, 0x5000)]);
        assert_eq!(functions.to_program(CODE), 0x800, "the program uses that name");
        assert_eq!((functions.to_worker(0x700), functions.to_worker(0x5000)), (CODE, 0x5000));
    }

    /// The worker's word for where its functions are.
    #[test]
    fn addresses_outside_of_the_librarys_code_count_for_nothing() {
        let functions = made(&[(0x1000, 0x1010), (CODE + 0x1000, 0x1020), (CODE, 0), (u64::MAX, 0x1040)]);
        for value in [0x1000, 0x1010, 0x1020, 0x1040, CODE, CODE + 0x1000, u64::MAX] {
            assert_eq!((functions.to_worker(value), functions.to_program(value)), (value, value));
        }
    }
}
