//! Which parts of a program's address space have memory on which node, and who owns them: a picture for
//! people, made once at the end of a run.
//!
//! Each node looks where its memory file has data; home puts what the nodes found side by side. Both are
//! bounded, so that neither the end of a large run nor its one line of statistics grows with the program's
//! memory.

use crate::pager::memory_file::MemoryFile;
use banyan_wire::address_space::{POOLS, pool_node};
use banyan_wire::ids::{EXTENT_BYTES, ExtentNumber, NodeId};
use banyan_wire::statistics::MemoryPiece;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// Pieces that a node reports at most. A larger memory is reported in coarser pieces.
const PIECES_MAX: usize = 2048;
/// Stretches of data that are looked at, at most: some tens of milliseconds.
const STEPS_MAX: usize = 50_000;
/// Cells of the picture at most.
const CELLS_MAX: usize = 64;

/// A cell of the picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// First address.
    pub start: u64,
    /// First address after it. Between two cells there may be any distance without memory.
    pub end: u64,
    /// The node from whose pool the addresses are; `None` for the low and the large range, which are no pool.
    pub pool: Option<u8>,
    /// The node that owns most of it.
    pub owner: u8,
    /// Bytes present on each node.
    pub bytes: Vec<u64>,
}

/// The pieces of a node, lowest first. `owner` says which node owns an extent.
///
/// # Errors
/// The system's.
pub fn pieces(memory: &MemoryFile, owner: impl Fn(ExtentNumber) -> NodeId) -> io::Result<Vec<MemoryPiece>> {
    let mut unit = EXTENT_BYTES;
    let mut found: BTreeMap<u64, (u64, NodeId)> = BTreeMap::new();
    let mut from = 0;
    for _ in 0..STEPS_MAX {
        let Some((start, end)) = memory.next_data(from)? else { break };
        let mut at = start;
        while at < end {
            let stop = ((at / EXTENT_BYTES + 1) * EXTENT_BYTES).min(end);
            let entry = found.entry(at / unit * unit);
            let (present, _) = entry.or_insert_with(|| (0, owner(ExtentNumber::of_address(at))));
            *present += stop - at;
            at = stop;
            if found.len() > PIECES_MAX {
                unit *= 2;
                found = coarser(&found, unit);
            }
        }
        from = end;
    }
    let piece = |(&start, &(present, owner))| MemoryPiece { start, length: unit, present, owner };
    Ok(found.iter().map(piece).collect())
}

fn coarser(found: &BTreeMap<u64, (u64, NodeId)>, unit: u64) -> BTreeMap<u64, (u64, NodeId)> {
    let mut joined: BTreeMap<u64, (u64, NodeId)> = BTreeMap::new();
    for (start, (present, owner)) in found {
        joined.entry(start / unit * unit).or_insert((0, *owner)).0 += present;
    }
    joined
}

/// Puts the nodes' pieces side by side, in at most about `CELLS_MAX` cells. A cell never spans two pools,
/// for a pool is what a node's threads get their memory from.
#[must_use]
pub fn cells(nodes: &[&[MemoryPiece]]) -> Vec<Cell> {
    let unit =
        nodes.iter().flat_map(|pieces| pieces.iter()).map(|piece| piece.length).max().unwrap_or(EXTENT_BYTES);
    let mut columns: BTreeMap<u64, Column> = BTreeMap::new();
    for (node, pieces) in nodes.iter().enumerate() {
        for piece in *pieces {
            let column = columns.entry(piece.start / unit * unit).or_insert_with(|| Column {
                bytes: vec![0; nodes.len()],
                owner: None,
                claimed: false,
            });
            column.bytes[node] += piece.present;
            // A node that calls itself the owner knows it; what others say may be old.
            let claims = usize::from(piece.owner.get()) == node;
            if column.owner.is_none() || (claims && !column.claimed) {
                column.owner = Some(piece.owner.get());
                column.claimed = claims;
            }
        }
    }
    let per_cell = columns.len().div_ceil(CELLS_MAX).max(1);
    let mut cells: Vec<(usize, BTreeMap<u8, usize>, Cell)> = Vec::new();
    for (start, column) in columns {
        let owner = column.owner.unwrap_or(0);
        match cells.last_mut() {
            Some((count, owners, cell)) if *count < per_cell && cell.pool == pool(start) => {
                *count += 1;
                *owners.entry(owner).or_default() += 1;
                cell.end = start + unit;
                cell.bytes.iter_mut().zip(&column.bytes).for_each(|(sum, more)| *sum += more);
            }
            _ => {
                let cell = Cell { start, end: start + unit, pool: pool(start), owner, bytes: column.bytes };
                cells.push((1, BTreeMap::from([(owner, 1)]), cell));
            }
        }
    }
    let most = |owners: &BTreeMap<u8, usize>| {
        owners
            .iter()
            .max_by_key(|&(&node, &count)| (count, std::cmp::Reverse(node)))
            .map_or(0, |(&node, _)| node)
    };
    cells.into_iter().map(|(_, owners, cell)| Cell { owner: most(&owners), ..cell }).collect()
}

struct Column {
    bytes: Vec<u64>,
    owner: Option<u8>,
    claimed: bool,
}

fn pool(address: u64) -> Option<u8> {
    POOLS.contains(address).then(|| pool_node(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_wire::address_space::pool_start;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).expect("a node number")
    }

    #[test]
    fn pieces_are_where_the_data_is() {
        let memory = MemoryFile::create().unwrap();
        let start = pool_start(2);
        memory.write(start + 4096, &[1; 8192]).unwrap();
        memory.write(start + EXTENT_BYTES - 4096, &[1; 8192]).unwrap();
        let found = pieces(&memory, |extent| node((extent.0 % 2) as u8)).unwrap();
        let extent = (start / EXTENT_BYTES % 2) as u8;
        let piece =
            |start, present, owner| MemoryPiece { start, length: EXTENT_BYTES, present, owner: node(owner) };
        assert_eq!(found, [piece(start, 12288, extent), piece(start + EXTENT_BYTES, 4096, 1 - extent)]);
    }

    #[test]
    fn a_large_memory_is_reported_in_coarser_pieces() {
        let memory = MemoryFile::create().unwrap();
        let extents = 5000;
        for number in 0..extents {
            memory.write(pool_start(1) + number * EXTENT_BYTES, b"x").unwrap();
        }
        let found = pieces(&memory, |_| node(1)).unwrap();
        assert_eq!(found.len(), 1250);
        assert!(found.iter().all(|piece| piece.length == 4 * EXTENT_BYTES && piece.present == 4 * 4096));
        let cells = cells(&[&[], &found]);
        assert!(cells.len() <= CELLS_MAX);
        assert_eq!(cells.iter().map(|cell| cell.bytes[1]).sum::<u64>(), extents * 4096);
    }

    #[test]
    fn cells_hold_what_every_node_has_and_do_not_span_pools() {
        let piece =
            |start, present, owner| MemoryPiece { start, length: EXTENT_BYTES, present, owner: node(owner) };
        // Home has not heard yet who owns the second extent now.
        let home = [piece(pool_start(0), 100, 0), piece(pool_start(1), 7, 2)];
        let other = [piece(pool_start(0), 50, 0), piece(pool_start(1), 200, 1)];
        let found = cells(&[&home, &other]);
        let cell = |node: u8, bytes: [u64; 2]| {
            let start = pool_start(node);
            Cell { start, end: start + EXTENT_BYTES, pool: Some(node), owner: node, bytes: bytes.to_vec() }
        };
        assert_eq!(found, [cell(0, [100, 50]), cell(1, [7, 200])]);
        assert_eq!(cells(&[&[]]), []);
    }
}
