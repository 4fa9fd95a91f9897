//! The address space of a program in a few cells: who owns each, and where nodes fight.
//!
//! Only what is mapped, side by side; gaps are left out.

use crate::look::Memory;
use crate::rows::ExtentRow;
use crate::view::HotView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const EXTENT_BYTES: u64 = 2 << 20;
/// Cells at most. What does not fit is joined.
const CELLS_MAX: u64 = 64;
/// Neighbours that are further apart than this are shown with a gap.
const LEAP_BYTES: u64 = 1 << 30;

/// A part of a program's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/reference/page-api.md describes each")]
pub struct Cell {
    pub start: u64,
    pub end: u64,
    pub owner: Option<String>,
    pub moves: u64,
    pub fights: u64,
    pub leap: bool,
}

/// The cells of a program, lowest first.
pub(crate) fn cells(job: u64, memory: &Memory, hot: &[HotView]) -> Vec<Cell> {
    let ranges = ranges(job, memory);
    let count: u64 = ranges.iter().map(|(first, after)| after - first).sum();
    let each = count.div_ceil(CELLS_MAX).max(1);
    let mut extents: Vec<&ExtentRow> = memory.extents.iter().filter(|extent| extent.job == job).collect();
    extents.sort_by_key(|extent| extent.first_extent);
    let mut cells: Vec<Cell> = Vec::new();
    for (first, after) in ranges {
        let mut at = first;
        while at < after {
            let next = after.min(at + each);
            let start = at * EXTENT_BYTES;
            let leap = cells.last().is_some_and(|last| start - last.end > LEAP_BYTES);
            let (start, end) = (start, next * EXTENT_BYTES);
            let is_in = |page: &&HotView| page.row.job == job && (start..end).contains(&page.row.address);
            cells.push(Cell {
                start,
                end,
                owner: owner(&extents, at, next),
                moves: hot.iter().filter(is_in).map(|page| page.row.moves).sum(),
                fights: hot.iter().filter(is_in).filter(|page| page.fights).count() as u64,
                leap,
            });
            at = next;
        }
    }
    cells
}

/// What is mapped, in extents: the first, and the one after the last, without overlaps.
fn ranges(job: u64, memory: &Memory) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for region in memory.regions.iter().filter(|region| region.job == job && region.start < region.end) {
        let (first, after) = (region.start / EXTENT_BYTES, region.end.div_ceil(EXTENT_BYTES));
        match ranges.last_mut() {
            Some((_, last)) if first <= *last => *last = after.max(*last),
            _ => ranges.push((first, after)),
        }
    }
    ranges
}

/// The node that owns most of some extents. `extents` are sorted.
fn owner(extents: &[&ExtentRow], first: u64, after: u64) -> Option<String> {
    let begin = extents.partition_point(|extent| extent.first_extent + extent.extents <= first);
    let mut owned: BTreeMap<&str, u64> = BTreeMap::new();
    for extent in extents[begin..].iter().take_while(|extent| extent.first_extent < after) {
        let common = after.min(extent.first_extent + extent.extents) - first.max(extent.first_extent);
        if let Some(owner) = &extent.owner {
            *owned.entry(owner).or_default() += common;
        }
    }
    let most = owned.into_iter().max_by_key(|&(name, count)| (count, std::cmp::Reverse(name)));
    most.map(|(name, _)| name.to_owned())
}
