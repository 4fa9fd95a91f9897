//! How many companies a cluster has, and how many members each.
//!
//! A company's log is about ownership and not about data: 16 bytes for an extent of 2 MiB, and a node takes
//! extents in bulk. So one company serves a small cluster whole, and what bounds a company is how large its
//! snapshot may become and how many nodes wait when its leader dies; not how much it is asked.

/// No cluster has more: each costs its members a few tasks and a log.
pub const COMPANIES_MAX: u8 = 64;
/// As many nodes wait at most for one leader's successor, as long as there are companies to be had.
const NODES_EACH: u64 = 8;
/// 131,072 extents, whose snapshot is 2 MiB at worst and is sent in one piece.
const MEMORY_BYTES_EACH: u64 = 256 << 30;
/// With fewer nodes each company would have the same members.
const NODES_FOR_MANY: usize = 5;

/// How many members a company has in a cluster of this many nodes. Always an odd number: one more than an odd
/// number adds a voter, and survives no more losses.
#[must_use]
pub const fn members(nodes: usize) -> usize {
    match nodes {
        0..=2 => 1,
        3..=6 => 3,
        _ => 5,
    }
}

/// How many companies a cluster has that has had `before`, with that many nodes and that much memory in all.
/// It grows when it must and shrinks only at half of that, so that a node that comes and goes moves
/// nothing.
#[must_use]
pub fn companies(before: u8, nodes: usize, memory_bytes: u64) -> u8 {
    let needed = unbounded(nodes, memory_bytes).min(u64::from(COMPANIES_MAX)) as u8;
    let doubled = unbounded(nodes.saturating_mul(2), memory_bytes.saturating_mul(2));
    if needed < before && doubled > u64::from(before) { before } else { needed }
}

fn unbounded(nodes: usize, memory_bytes: u64) -> u64 {
    if nodes < NODES_FOR_MANY {
        return 1;
    }
    let by_nodes = (nodes as u64).div_ceil(NODES_EACH);
    by_nodes.max(memory_bytes.div_ceil(MEMORY_BYTES_EACH))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_sizes_that_were_decided_on() {
        for (nodes, expected) in [(1, 1), (2, 1), (3, 3), (6, 3), (7, 5), (64, 5), (1000, 5)] {
            assert_eq!(members(nodes), expected, "{nodes} nodes");
        }
        for (nodes, memory_gib, expected) in [
            (1, 8, 1),
            (3, 24, 1),
            // However much memory it is: the companies would have the same members.
            (4, 4096, 1),
            (5, 256, 1),
            (5, 257, 2),
            (8, 1024, 4),
            (9, 64, 2),
            (32, 8192, 32),
            (1000, 256 << 10, 64),
        ] {
            assert_eq!(companies(1, nodes, memory_gib * GIB), expected, "{nodes} nodes, {memory_gib} GiB");
        }
    }

    #[test]
    fn it_grows_at_the_bound_and_shrinks_at_half_of_it() {
        for (before, nodes, memory_gib, expected) in [
            (4, 8, 1025, 5),
            (4, 8, 1024, 4),
            (4, 8, 513, 4),
            (4, 8, 512, 2),
            (2, 9, 64, 2),
            (2, 8, 64, 1),
            // At the most that there are, too.
            (64, 100, 12 << 10, 64),
            (64, 100, 8 << 10, 32),
        ] {
            let found = companies(before, nodes, memory_gib * GIB);
            assert_eq!(found, expected, "{before}: {nodes} nodes, {memory_gib} GiB");
        }
    }

    #[test]
    fn a_change_that_comes_and_goes_moves_nothing() {
        for nodes in 5..=200 {
            for memory_gib in [1, 255, 256, 257, 1000, 1024, 1025, 20_000] {
                let settled = companies(1, nodes, memory_gib * GIB);
                let more = companies(settled, nodes + 1, (memory_gib + 1) * GIB);
                let again = companies(more, nodes, memory_gib * GIB);
                let more_again = companies(again, nodes + 1, (memory_gib + 1) * GIB);
                assert_eq!(more_again, more, "{nodes} nodes, {memory_gib} GiB");
                // From one to two is the only step that is as large as what it began with.
                assert!(again == more || settled == 1, "{nodes} nodes, {memory_gib} GiB");
            }
        }
    }
}
