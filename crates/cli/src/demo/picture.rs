//! What a run did, for the eye: a table of nodes, and strips that show whose memory lies where.

use crate::terminal::{style, wrap};
use banyan_node::memory_map::Cell;
use banyan_node::statistics::{Faults, RunStatistics};
use std::fmt::Write;

const MEBIBYTE: f64 = (1 << 20) as f64;
/// First column of the strips.
const LABEL: usize = 12;

/// What ran where and what it cost.
pub(super) fn table(statistics: &RunStatistics) -> String {
    let mut text = style::strong("What ran where") + "\n";
    let _ = writeln!(
        text,
        "  {:<LABEL$}{:>8}{:>11}{:>13}{:>12}",
        "node", "threads", "CPU", "daemon CPU", "memory"
    );
    for (number, node) in statistics.nodes.iter().enumerate() {
        let _ = writeln!(
            text,
            "  {}{:>8}{:>9.2} s{:>11.2} s{:>8.1} MiB",
            style::numbered(number, &format!("{:<LABEL$}", node.name)),
            node.threads_run,
            node.cpu_seconds,
            node.daemon_cpu_seconds,
            node.memory_bytes as f64 / MEBIBYTE,
        );
    }
    let Faults { read, write, upgrade, p50_us, p99_us } = statistics.faults;
    text.push('\n');
    text += &style::strong("What it cost");
    let _ = write!(
        text,
        "\n  page faults   {} to read, {} to write, {} to write after reading\n  \
         each took     {p50_us:.1} us in the median, {p99_us:.1} us at the 99th percentile\n  \
         moved         {:.1} MiB between nodes\n  \
         system calls  {} made at home for threads elsewhere\n  \
         time lost     {:.2} s waiting for remote memory, by all threads, in {:.2} s\n",
        read,
        write,
        upgrade,
        statistics.bytes_moved as f64 / MEBIBYTE,
        statistics.deputy_calls,
        statistics.remote_wait_seconds,
        statistics.wall_seconds,
    );
    text
}

/// A strip for each node, as many cells wide as fit, and one that says who owns what.
pub(super) fn strips(statistics: &RunStatistics, columns: usize) -> String {
    const INDENT: usize = 2;
    if statistics.memory_map.is_empty() {
        return String::new();
    }
    let cells = fit(&statistics.memory_map, columns.saturating_sub(LABEL + INDENT + 1).max(8));
    let mut text = style::strong("Where the memory was at the end") + "\n";
    let mut row = |label: &str, number: Option<usize>, draw: &dyn Fn(&Shown) -> String| {
        let strip: String = cells.iter().map(|cell| cell.as_ref().map_or_else(|| "|".into(), draw)).collect();
        let label = format!("{label:<LABEL$}");
        let label = number.map_or_else(|| label.clone(), |number| style::numbered(number, &label));
        let _ = writeln!(text, "  {label}{strip}");
    };
    for (number, node) in statistics.nodes.iter().enumerate() {
        row(&node.name, Some(number), &|cell| {
            let shade = shade(cell.bytes.get(number).copied().unwrap_or(0), cell.most);
            style::numbered(number, shade)
        });
    }
    row("owner", None, &|cell| style::numbered(usize::from(cell.owner), &digit(cell.owner)));
    row("pool of", None, &|cell| cell.pool.map_or_else(|| "-".into(), digit));
    let legend = "From left to right: the addresses in use, low to high. Shades: \u{2588} nearly all of it is on \
        this node, \u{2593} \u{2592} \u{2591} less, . nothing; a copy for reading counts on every node that has one. \
        Owner: the node that keeps the directory of that memory. Pool: the node whose threads asked for it.";
    let _ = writeln!(text, "  {}", wrap(legend, INDENT, columns));
    text
}

/// A cell as it is shown.
#[derive(Clone, Debug)]
struct Shown {
    pool: Option<u8>,
    owner: u8,
    bytes: Vec<u64>,
    most: u64,
}

/// Joins neighbours of one pool until all fit. `None` is a leap to another pool.
fn fit(cells: &[Cell], room: usize) -> Vec<Option<Shown>> {
    for factor in 1.. {
        let mut shown: Vec<Option<Shown>> = Vec::new();
        let mut joined = 0;
        for cell in cells {
            let leaps = matches!(shown.last(), Some(Some(last)) if last.pool != cell.pool);
            let most = *cell.bytes.iter().max().unwrap_or(&0);
            let next = Shown { pool: cell.pool, owner: cell.owner, bytes: cell.bytes.clone(), most };
            match shown.last_mut() {
                Some(Some(last)) if !leaps && joined < factor => {
                    last.bytes.iter_mut().zip(&next.bytes).for_each(|(sum, more)| *sum += more);
                    last.most = *last.bytes.iter().max().unwrap_or(&0);
                    joined += 1;
                }
                _ => {
                    if leaps {
                        shown.push(None);
                    }
                    shown.push(Some(next));
                    joined = 1;
                }
            }
        }
        if shown.len() <= room || factor > cells.len() {
            return shown;
        }
    }
    Vec::new()
}

/// How much of what any node has in this cell one node has.
fn shade(bytes: u64, most: u64) -> &'static str {
    match (bytes * 4).checked_div(most.max(1)).unwrap_or(0) {
        _ if bytes == 0 => ".",
        0 => "\u{2591}",
        1 => "\u{2592}",
        2 => "\u{2593}",
        _ => "\u{2588}",
    }
}

fn digit(node: u8) -> String {
    char::from_digit(u32::from(node), 36).unwrap_or('*').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(pool: u8, bytes: [u64; 2]) -> Cell {
        Cell { start: 0, end: 1, pool: Some(pool), owner: pool, bytes: bytes.to_vec() }
    }

    #[test]
    fn a_strip_shows_shares_owners_and_leaps() {
        let cells = [cell(0, [100, 0]), cell(0, [100, 60]), cell(1, [10, 100])];
        let shown = fit(&cells, 80);
        let row = |node: usize| -> String {
            shown
                .iter()
                .map(|cell| cell.as_ref().map_or("|", |cell| shade(cell.bytes[node], cell.most)))
                .collect()
        };
        assert_eq!(row(0), "\u{2588}\u{2588}|\u{2591}");
        assert_eq!(row(1), ".\u{2593}|\u{2588}");
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_cells() {
        let cells = vec![cell(0, [1, 0]); 64];
        assert_eq!(fit(&cells, 64).len(), 64);
        let narrow = fit(&cells, 30);
        assert_eq!(narrow.len(), 22);
        assert_eq!(narrow.iter().flatten().map(|cell| cell.bytes[0]).sum::<u64>(), 64);
    }
}
