//! Runs of granules: free ones in lists by the power of two of their length, merged with their neighbours.
//!
//! A run's first granule has its descriptor, its last one says where the run begins. Words of a descriptor:
//!
//! | word | what |
//! |---|---|
//! | 0 | kind; class of a span; for a tail its run's kind; in the upper half, of a pending run, for whom |
//! | 1 | granules of the run |
//! | 2 | neighbours in a list: numbers plus 1, the next in the lower half, the one before in the upper |
//! | 3 | bytes of a large object; state of a span |
//!
//! Invariant: granules inside of a run, and those from the frontier on, have 0 in word 0.
//! Invariant: the run below the frontier is not free, and no two free runs are neighbours.

use super::change::{Change, Damaged};
use super::{Allocator, Refused};
use crate::identity::Participant;
use crate::layout::{BINS, GRANULE, GRANULE_WORDS, Geometry, WORD_BINS, WORD_FRONTIER, WORD_GRANULE_TABLE};

pub(super) const FREE: u64 = 1;
pub(super) const SPAN: u64 = 2;
const LARGE: u64 = 3;
const PENDING: u64 = 4;
const TAIL: u64 = 5;

/// Free runs of the fitting bin that are looked at before a larger one is cut.
const LOOKS: usize = 32;

/// Granules `first` up to `first + length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) length: usize,
}

/// The place of a descriptor's word; outside of the metadata for a granule that is none.
pub(super) fn descriptor(granule: usize, word: usize) -> usize {
    granule.saturating_mul(GRANULE_WORDS).saturating_add(WORD_GRANULE_TABLE + word)
}

pub(super) fn kind(change: &Change<'_>, granule: usize) -> Result<u64, Damaged> {
    Ok(change.get(descriptor(granule, 0))? & 0xff)
}

/// The run that begins at `first`, if it can be one.
fn run_at(change: &Change<'_>, geometry: Geometry, first: usize) -> Result<Run, Damaged> {
    let word = descriptor(first, 1);
    let length = change.get(word)? as usize;
    if length == 0 || first >= geometry.granules || length > geometry.granules - first {
        return Err(Damaged { word });
    }
    Ok(Run { first, length })
}

/// Says of both ends of a run what it is.
fn set(change: &mut Change<'_>, run: Run, first_word: u64) -> Result<(), Damaged> {
    change.set(descriptor(run.first, 0), first_word)?;
    change.set(descriptor(run.first, 1), run.length as u64)?;
    if run.length > 1 {
        let last = run.first + run.length - 1;
        change.set(descriptor(last, 0), TAIL | ((first_word & 0xff) << 8))?;
        change.set(descriptor(last, 1), run.length as u64)?;
    }
    Ok(())
}

fn clear(change: &mut Change<'_>, run: Run) -> Result<(), Damaged> {
    change.set(descriptor(run.first, 0), 0)?;
    change.set(descriptor(run.first + run.length - 1, 0), 0)
}

pub(super) fn set_pending(
    change: &mut Change<'_>,
    geometry: Geometry,
    run: Run,
    process: Participant,
) -> Result<(), Damaged> {
    debug_assert!(run.first + run.length <= geometry.granules);
    set(change, run, PENDING | (u64::from(process.0) << 32))
}

pub(super) fn set_large(
    change: &mut Change<'_>,
    geometry: Geometry,
    run: Run,
    bytes: usize,
) -> Result<(), Damaged> {
    debug_assert!(run.first + run.length <= geometry.granules);
    set(change, run, LARGE)?;
    change.set(descriptor(run.first, 3), bytes as u64)
}

pub(super) fn set_span(change: &mut Change<'_>, granule: usize, class: usize) -> Result<(), Damaged> {
    set(change, Run { first: granule, length: 1 }, SPAN | ((class as u64) << 8))?;
    change.set(descriptor(granule, 2), 0)?;
    change.set(descriptor(granule, 3), 0)
}

/// The run that is pending from `first` on.
pub(super) fn pending_at(change: &Change<'_>, geometry: Geometry, first: usize) -> Result<Run, Refused> {
    if first >= geometry.granules || kind(change, first)? != PENDING {
        return Err(Refused::NoObject);
    }
    Ok(run_at(change, geometry, first)?)
}

/// The large object that begins at granule `first`, and its bytes.
pub(super) fn large_at(
    change: &Change<'_>,
    geometry: Geometry,
    first: usize,
) -> Result<Option<(Run, usize)>, Damaged> {
    if first >= frontier(change, geometry)? || kind(change, first)? != LARGE {
        return Ok(None);
    }
    let (run, word) = (run_at(change, geometry, first)?, descriptor(first, 3));
    let bytes = change.get(word)? as usize;
    // More than its granules have would be other objects', or memory that is none of the heap's.
    if bytes == 0 || bytes > run.length * GRANULE {
        return Err(Damaged { word });
    }
    Ok(Some((run, bytes)))
}

/// The first run that is pending for a dead process.
pub(super) fn next_pending(
    change: &Change<'_>,
    geometry: Geometry,
    is_alive: impl Fn(Participant) -> bool,
) -> Result<Option<Run>, Damaged> {
    let mut granule = 0;
    while granule < frontier(change, geometry)? {
        let run = run_at(change, geometry, granule)?;
        let word = change.get(descriptor(granule, 0))?;
        if word & 0xff == PENDING && !is_alive(Participant((word >> 32) as u32)) {
            return Ok(Some(run));
        }
        granule += run.length;
    }
    Ok(None)
}

pub(super) fn frontier(change: &Change<'_>, geometry: Geometry) -> Result<usize, Damaged> {
    let frontier = change.get(WORD_FRONTIER)? as usize;
    if frontier > geometry.granules { Err(Damaged { word: WORD_FRONTIER }) } else { Ok(frontier) }
}

fn bin_of(length: usize) -> usize {
    (length.ilog2() as usize).min(BINS - 1)
}

/// Takes `length` granules. Both ends have a descriptor that the caller must set.
pub(super) fn take(
    allocator: &Allocator<'_>,
    change: &mut Change<'_>,
    length: usize,
) -> Result<Run, Refused> {
    let geometry = allocator.geometry;
    if length == 0 || length > geometry.granules {
        return Err(Refused::NoRoom);
    }
    for bin in bin_of(length)..BINS {
        let mut next = change.get(WORD_BINS + bin)?;
        for _ in 0..LOOKS {
            let Some(first) = (next as usize).checked_sub(1) else { break };
            let run = run_at(change, geometry, first)?;
            if run.length >= length {
                unlink(change, run)?;
                clear(change, run)?;
                if run.length > length {
                    let rest = Run { first: first + length, length: run.length - length };
                    set(change, rest, FREE)?;
                    link(change, rest)?;
                }
                return Ok(Run { first, length });
            }
            next = change.get(descriptor(first, 2))? & 0xffff_ffff;
        }
    }
    let first = frontier(change, geometry)?;
    if length > geometry.granules - first {
        return Err(Refused::NoRoom);
    }
    let bytes = length * GRANULE_WORDS * 8;
    allocator.backing.reserve_metadata(descriptor(first, 0) * 8, bytes).map_err(Refused::NoMemory)?;
    change.set(WORD_FRONTIER, (first + length) as u64)?;
    Ok(Run { first, length })
}

/// Frees a run, and merges it with what is free beside it.
pub(super) fn free(allocator: &Allocator<'_>, change: &mut Change<'_>, run: Run) -> Result<(), Refused> {
    let geometry = allocator.geometry;
    let mut merged = run;
    clear(change, run)?;
    if let Some(before) = free_before(change, geometry, run.first)? {
        unlink(change, before)?;
        clear(change, before)?;
        merged = Run { first: before.first, length: before.length + merged.length };
    }
    let end = run.first + run.length;
    let frontier = frontier(change, geometry)?;
    if end < frontier && kind(change, end)? == FREE {
        let after = run_at(change, geometry, end)?;
        unlink(change, after)?;
        clear(change, after)?;
        merged.length += after.length;
    }
    if merged.first + merged.length == frontier {
        change.set(WORD_FRONTIER, merged.first as u64)?;
        return Ok(());
    }
    set(change, merged, FREE)?;
    Ok(link(change, merged)?)
}

fn free_before(change: &Change<'_>, geometry: Geometry, first: usize) -> Result<Option<Run>, Damaged> {
    let Some(last) = first.checked_sub(1) else { return Ok(None) };
    let word = change.get(descriptor(last, 0))?;
    let length = change.get(descriptor(last, 1))? as usize;
    if word == FREE {
        return Ok(Some(Run { first: last, length: 1 }));
    }
    if word != TAIL | (FREE << 8) {
        return Ok(None);
    }
    let place = descriptor(last, 1);
    let before = first.checked_sub(length).ok_or(Damaged { word: place })?;
    let run = run_at(change, geometry, before)?;
    if run.length == length { Ok(Some(run)) } else { Err(Damaged { word: place }) }
}

/// Puts a run at the head of the list that begins at `head`.
pub(super) fn push(change: &mut Change<'_>, head: usize, granule: usize) -> Result<(), Damaged> {
    let next = change.get(head)?;
    change.set(descriptor(granule, 2), next)?;
    if let Some(next) = (next as usize).checked_sub(1) {
        let word = change.get(descriptor(next, 2))?;
        let links = (word & 0xffff_ffff) | ((granule as u64 + 1) << 32);
        change.set(descriptor(next, 2), links)?;
    }
    change.set(head, granule as u64 + 1)
}

/// Takes a run out of the list that begins at `head`.
pub(super) fn pull(change: &mut Change<'_>, head: usize, granule: usize) -> Result<(), Damaged> {
    let links = change.get(descriptor(granule, 2))?;
    let (next, before) = (links & 0xffff_ffff, links >> 32);
    match (before as usize).checked_sub(1) {
        None => change.set(head, next)?,
        Some(before) => {
            let word = change.get(descriptor(before, 2))?;
            change.set(descriptor(before, 2), (word & !0xffff_ffff) | next)?;
        }
    }
    if let Some(next) = (next as usize).checked_sub(1) {
        let word = change.get(descriptor(next, 2))?;
        change.set(descriptor(next, 2), (word & 0xffff_ffff) | (before << 32))?;
    }
    change.set(descriptor(granule, 2), 0)
}

fn link(change: &mut Change<'_>, run: Run) -> Result<(), Damaged> {
    push(change, WORD_BINS + bin_of(run.length), run.first)
}

fn unlink(change: &mut Change<'_>, run: Run) -> Result<(), Damaged> {
    pull(change, WORD_BINS + bin_of(run.length), run.first)
}
