//! What of the program's memory is here, and bringing here what is elsewhere: for a copy of its process,
//! while the replicas of the other nodes stand still, so that nothing is taken away again. Not here: how this
//! node's own replica stands still (`freezing`).

use super::{Pager, PagerError};
use banyan_core::coherence::ACQUIRE_PAGES_MAX;
use banyan_wire::ids::{Access, EXTENT_BYTES, PAGE_BYTES, PageNumber};
use std::io;
use std::time::Instant;

/// What one acquisition waits for.
const PIECE_BYTES: u64 = ACQUIRE_PAGES_MAX as u64 * PAGE_BYTES;
/// Pieces that are asked for at a time.
const PIECES: usize = 16;
/// More stretches than this are reported as whole extents.
const STRETCHES_MAX: usize = 1 << 15;

impl Pager {
    /// The stretches of which there are pages here: first byte, and first byte after it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn held_here(&self) -> io::Result<Vec<(u64, u64)>> {
        let held = self.memory.stretches()?;
        Ok(if held.len() <= STRETCHES_MAX { held } else { whole_extents(&held) })
    }

    /// Brings stretches here that other nodes hold, to be read. False if some did not come by `deadline`.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn gather(&self, held: &[(u64, u64)], deadline: Instant) -> Result<bool, PagerError> {
        let mut missing = self.missing(held);
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            for pieces in pieces(&missing).chunks(PIECES) {
                self.acquire(pieces, Access::Read, left)?;
            }
            missing = self.missing(&missing);
        }
        Ok(true)
    }

    /// The pages of some stretches that cannot be read here, as stretches.
    fn missing(&self, held: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut missing: Vec<(u64, u64)> = Vec::new();
        for &(start, end) in held {
            let state = self.lock();
            for at in (start..end).step_by(PAGE_BYTES as usize) {
                if state.machine.held(PageNumber::of_address(at)).allows(Access::Read) {
                    continue;
                }
                match missing.last_mut() {
                    Some(last) if last.1 == at => last.1 = at + PAGE_BYTES,
                    _ => missing.push((at, at + PAGE_BYTES)),
                }
            }
        }
        missing
    }
}

/// Stretches as pieces of which one acquisition waits for all: first byte and length.
fn pieces(stretches: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let of_one = |&(start, end): &(u64, u64)| {
        (start..end).step_by(PIECE_BYTES as usize).map(move |at| (at, PIECE_BYTES.min(end - at)))
    };
    stretches.iter().flat_map(of_one).collect()
}

/// The extents in which stretches lie, neighbours together.
fn whole_extents(held: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut extents: Vec<(u64, u64)> = Vec::new();
    for &(start, end) in held {
        let (start, end) = (start & !(EXTENT_BYTES - 1), end.next_multiple_of(EXTENT_BYTES));
        match extents.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => extents.push((start, end)),
        }
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_no_longer_than_an_acquisition_waits_for() {
        let (start, bytes) = (7 * PAGE_BYTES, PIECE_BYTES);
        let stretches = [(start, start + bytes), (4 * bytes, 6 * bytes + 1)];
        assert_eq!(
            pieces(&stretches),
            [(start, bytes), (4 * bytes, bytes), (5 * bytes, bytes), (6 * bytes, 1)]
        );
    }

    #[test]
    fn stretches_become_extents_once_each() {
        let extent = |number: u64| number * EXTENT_BYTES;
        let held =
            [(4096, 8192), (12288, 16384), (extent(1) - 4096, extent(1) + 4096), (extent(5), extent(5) + 1)];
        assert_eq!(whole_extents(&held), [(0, extent(2)), (extent(5), extent(6))]);
    }
}
