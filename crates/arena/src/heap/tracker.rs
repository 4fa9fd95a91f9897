//! How written pages are found: one trait, four ways, one of them chosen by a probe.
//!
//! A tracker reports each page that was written since it was last asked, perhaps more, never less. It is
//! asked only while no thread writes. All of them are held to one suite of tests at the end of this file.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::sys::demand_paging::DemandPaging;
use crate::sys::mapping::Mapping;
use crate::sys::write_faults::WriteFaults;

use crate::disk::BLOCK_SIZE;

/// How an arena finds the pages that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// The first of the next three that works here.
    #[default]
    Probe,
    /// The kernel notes first writes by itself (userfaultfd and the page map scan, Linux 6.7): under a
    /// microsecond a page.
    WriteProtection,
    /// The first write to a page is a signal: some microseconds a page, on any kernel. A system call that
    /// writes into the arena needs [`Arena::dirty`](crate::Arena::dirty) first.
    Signals,
    /// Every page in memory is compared with a hash of what it was: nothing is noted while the program runs,
    /// and a commit costs what is in memory.
    Compare,
    /// The program says what it writes to objects above 8 KiB, by [`Arena::dirty`](crate::Arena::dirty),
    /// before the commit; smaller ones are compared, since the allocator writes among them. What is not said
    /// is not kept: for programs that know.
    Explicit,
}

/// Whether pages of a range may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holes {
    /// All of them are there.
    None,
    /// Some may not be.
    Perhaps,
}

/// Finds written pages in a range of memory. Ranges are addresses and bytes, whole pages.
pub(crate) trait Tracker: Send + Sync {
    /// Calls `found` with each run in the range that was written since the last call on it. Clean from then
    /// on.
    fn take(
        &self,
        start: usize,
        length: usize,
        holes: Holes,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()>;
    /// Counts a range as written from now on until it is taken, and makes it writable for the kernel too.
    fn note(&self, start: usize, length: usize) -> io::Result<()>;
    /// Forgets what it knows of a range whose pages were dropped or replaced by clean ones.
    fn forget(&self, start: usize, length: usize);
    /// The way that this is.
    fn tracking(&self) -> Tracking;
}

/// A tracker, and the kernel's one if that is what it is: only with it can pages be provided on demand.
pub(crate) type Tracked = (Box<dyn Tracker>, Option<Arc<DemandPaging>>);

/// A tracker for a fresh mapping.
pub(crate) fn track(mapping: &Mapping, wanted: Tracking) -> io::Result<Tracked> {
    let protection = || -> io::Result<Tracked> {
        let pages = Arc::new(DemandPaging::track(mapping)?);
        let noted = Mutex::default();
        Ok((Box::new(Protection { pages: Arc::clone(&pages), noted }), Some(pages)))
    };
    let signals = || -> io::Result<Tracked> { Ok((Box::new(Signals(WriteFaults::track(mapping)?)), None)) };
    match wanted {
        Tracking::Probe => {
            protection().or_else(|_| signals()).or_else(|_| Ok((Box::new(Compare::default()), None)))
        }
        Tracking::WriteProtection => protection(),
        Tracking::Signals => signals(),
        Tracking::Compare => Ok((Box::new(Compare::default()), None)),
        Tracking::Explicit => Ok((Box::new(Explicit::default()), None)),
    }
}

struct Protection {
    pages: Arc<DemandPaging>,
    /// Runs that the program spoke of; the kernel reports them anyway once they are written.
    noted: Mutex<Vec<(usize, usize)>>,
}

impl Tracker for Protection {
    fn take(
        &self,
        start: usize,
        length: usize,
        holes: Holes,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        match holes {
            Holes::None => self.pages.written().take_full(start, length, found)?,
            Holes::Perhaps => self.pages.written().take(start, length, found)?,
        }
        let mut noted = self.noted.lock();
        noted.retain(|(at, bytes)| {
            let inside = (start..start + length).contains(at);
            if inside {
                found(*at, *bytes);
            }
            !inside
        });
        Ok(())
    }
    fn note(&self, start: usize, length: usize) -> io::Result<()> {
        self.noted.lock().push((start, length));
        Ok(())
    }
    fn forget(&self, _start: usize, _length: usize) {}
    fn tracking(&self) -> Tracking {
        Tracking::WriteProtection
    }
}

struct Signals(WriteFaults);

impl Tracker for Signals {
    fn take(
        &self,
        start: usize,
        length: usize,
        _holes: Holes,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        self.0.take(start, length, found)
    }
    fn note(&self, start: usize, length: usize) -> io::Result<()> {
        self.0.note(start, length)
    }
    fn forget(&self, _start: usize, _length: usize) {}
    fn tracking(&self) -> Tracking {
        Tracking::Signals
    }
}

/// Hashes of pages as they were last reported; a page without one was zero.
#[derive(Default)]
pub(crate) struct Compare {
    hashes: Mutex<HashMap<usize, u64>>,
}

impl Compare {
    fn changed(&self, address: usize) -> bool {
        // SAFETY: the trait's contract: the page is in the heap's mapping and no thread writes while we look.
        let page = unsafe {
            std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), BLOCK_SIZE)
        };
        let zero = crate::store::is_zero(page);
        let mut hashes = self.hashes.lock();
        if zero {
            return hashes.remove(&address).is_some();
        }
        let hash = xxhash_rust::xxh3::xxh3_64(page);
        hashes.insert(address, hash) != Some(hash)
    }
}

impl Tracker for Compare {
    fn take(
        &self,
        start: usize,
        length: usize,
        _holes: Holes,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        for address in (start..start + length).step_by(BLOCK_SIZE) {
            if self.changed(address) {
                found(address, BLOCK_SIZE);
            }
        }
        Ok(())
    }
    fn note(&self, _start: usize, _length: usize) -> io::Result<()> {
        Ok(())
    }
    fn forget(&self, start: usize, length: usize) {
        // What comes back is compared with what is there then; a page that was dropped is zero until written.
        let mut hashes = self.hashes.lock();
        if length / BLOCK_SIZE > hashes.len() {
            hashes.retain(|address, _| !(start..start + length).contains(address));
            return;
        }
        (start..start + length).step_by(BLOCK_SIZE).for_each(|address| {
            hashes.remove(&address);
        });
    }
    fn tracking(&self) -> Tracking {
        Tracking::Compare
    }
}

#[derive(Default)]
struct Explicit {
    noted: Mutex<BTreeSet<usize>>,
}

impl Tracker for Explicit {
    fn take(
        &self,
        start: usize,
        length: usize,
        _holes: Holes,
        found: &mut dyn FnMut(usize, usize),
    ) -> io::Result<()> {
        let mut noted = self.noted.lock();
        let taken: Vec<usize> = noted.range(start..start + length).copied().collect();
        for address in taken {
            noted.remove(&address);
            found(address, BLOCK_SIZE);
        }
        Ok(())
    }
    fn note(&self, start: usize, length: usize) -> io::Result<()> {
        let first = start / BLOCK_SIZE * BLOCK_SIZE;
        let pages = (first..start + length).step_by(BLOCK_SIZE);
        self.noted.lock().extend(pages);
        Ok(())
    }
    fn forget(&self, start: usize, length: usize) {
        let mut noted = self.noted.lock();
        noted.retain(|address| !(start..start + length).contains(address));
    }
    fn tracking(&self) -> Tracking {
        Tracking::Explicit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 4 << 20;

    /// What every tracker does, whatever its means. `says` is whether the program must announce its writes.
    fn conforms(number: usize, wanted: Tracking, says: bool) {
        let mapping = Mapping::reserve(0x6500_0000_0000 + (number << 32), LENGTH).unwrap();
        let (tracker, _) = track(&mapping, wanted).unwrap();
        assert_eq!(tracker.tracking(), wanted);
        let taken = |start: usize, length: usize| {
            let mut pages = BTreeSet::new();
            let mut found = |at: usize, bytes: usize| {
                pages.extend(
                    (at..at + bytes).step_by(BLOCK_SIZE).map(|at| (at - mapping.base()) / BLOCK_SIZE),
                );
            };
            tracker.take(mapping.base() + start, length, Holes::Perhaps, &mut found).unwrap();
            pages
        };
        let write = |page: usize, value: u64| {
            let address = mapping.base() + page * BLOCK_SIZE;
            if says {
                tracker.note(address + 8, 8).unwrap();
            }
            let word: *mut u64 = std::ptr::with_exposed_provenance_mut(address + 8);
            // SAFETY: the page is inside the mapping; a tracker lets every write happen.
            unsafe { word.write_volatile(value) };
        };
        assert_eq!(taken(0, LENGTH), BTreeSet::new(), "{wanted:?}: nothing was written yet");
        let mut seed = 1_u64;
        for round in 1..20 {
            let mut pages = BTreeSet::new();
            for _ in 0..1 + round * round {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let page = (seed >> 33) as usize % (LENGTH / BLOCK_SIZE);
                write(page, seed | 1);
                pages.insert(page);
            }
            // Half a range at a time: what lies in the other half is kept for later.
            let first = taken(0, LENGTH / 2);
            let second = taken(LENGTH / 2, LENGTH / 2);
            assert!(first.iter().all(|page| *page < LENGTH / 2 / BLOCK_SIZE));
            assert_eq!(first.union(&second).copied().collect::<BTreeSet<_>>(), pages, "{wanted:?}");
            assert_eq!(taken(0, LENGTH), BTreeSet::new(), "{wanted:?}: reported once");
        }
        // A dropped page is not dirty, and is again once it is written.
        write(3, 5);
        // SAFETY: nothing refers to the content of the page.
        unsafe { mapping.discard(3 * BLOCK_SIZE, BLOCK_SIZE) }.unwrap();
        tracker.forget(mapping.base() + 3 * BLOCK_SIZE, BLOCK_SIZE);
        let after = taken(0, LENGTH);
        assert!(after.is_empty() || wanted == Tracking::Signals, "{wanted:?}: {after:?}");
        write(3, 6);
        assert_eq!(taken(0, LENGTH), BTreeSet::from([3]));
        drop(tracker);
    }

    #[test]
    fn write_protection_conforms() {
        conforms(1, Tracking::WriteProtection, false);
    }
    #[test]
    fn signals_conform() {
        conforms(2, Tracking::Signals, false);
    }
    #[test]
    fn comparison_conforms() {
        conforms(3, Tracking::Compare, false);
    }
    #[test]
    fn explicit_notes_conform() {
        conforms(4, Tracking::Explicit, true);
    }
}
