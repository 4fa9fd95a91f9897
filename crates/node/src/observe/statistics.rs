//! What a run cost, per node: threads, CPU time, faults, bytes, and the time lost to remote memory.

use crate::observe::memory_map::{self, Cell, Piece};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of the fault histogram: a quarter of a power of two each, from 1 us.
const BUCKETS: usize = 96;

/// Counters of one node, updated by the pager and the request service.
#[derive(Debug)]
pub struct Counters {
    /// Threads of the program that started to execute here.
    pub threads: AtomicU64,
    /// Faults for reading that went to another node.
    pub read_faults: AtomicU64,
    /// Faults for writing without a copy here.
    pub write_faults: AtomicU64,
    /// Faults for writing with a read copy here.
    pub upgrade_faults: AtomicU64,
    /// Nanoseconds that threads waited for pages.
    pub wait_nanoseconds: AtomicU64,
    /// System calls made by deputies.
    pub deputy_calls: AtomicU64,
    histogram: [AtomicU64; BUCKETS],
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            threads: zero(),
            read_faults: zero(),
            write_faults: zero(),
            upgrade_faults: zero(),
            wait_nanoseconds: zero(),
            deputy_calls: zero(),
            histogram: std::array::from_fn(|_| zero()),
        }
    }
}

impl Counters {
    /// Counts the time a fault took until its page was mapped.
    pub fn fault_took(&self, nanoseconds: u64) {
        self.wait_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.histogram[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
    }

    /// A copy of the histogram.
    #[must_use]
    pub fn histogram(&self) -> Vec<u64> {
        self.histogram.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let microseconds = nanoseconds as f64 / 1000.0;
    ((microseconds.max(1.0).log2() * 4.0) as usize).min(BUCKETS - 1)
}

/// The upper end of a bucket in microseconds.
fn bucket_end(bucket: usize) -> f64 {
    2_f64.powf((bucket + 1) as f64 / 4.0)
}

/// What one node did in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatistics {
    /// Its name.
    pub name: String,
    /// Threads of the program that executed here.
    pub threads: u64,
    /// CPU time of the replica.
    pub cpu_seconds: f64,
    /// CPU time of the daemon.
    pub daemon_cpu_seconds: f64,
    /// Bytes of the program's memory that were here at the end.
    pub memory_bytes: u64,
    /// Faults for reading.
    pub read_faults: u64,
    /// Faults for writing.
    pub write_faults: u64,
    /// Faults for writing a page that was here for reading.
    pub upgrade_faults: u64,
    /// Counts by duration.
    pub histogram: Vec<u64>,
    /// Bytes sent to other nodes for coherence.
    pub bytes_sent: u64,
    /// System calls made for threads elsewhere.
    pub deputy_calls: u64,
    /// Time that threads waited for pages.
    pub wait_seconds: f64,
    /// Which parts of the address space had memory here at the end.
    pub extents: Vec<Piece>,
}

/// What all nodes did.
///
/// As `--stats=json` prints it; the reference of the statistics says what each field means.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/reference/stats.md describes each")]
pub struct RunStatistics {
    pub nodes: Vec<NodeLine>,
    pub faults: Faults,
    pub bytes_moved: u64,
    pub migrations: u64,
    pub deputy_calls: u64,
    pub remote_wait_seconds: f64,
    pub wall_seconds: f64,
    pub memory_map: Vec<Cell>,
}

/// A line of the summary for each node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/reference/stats.md describes each")]
pub struct NodeLine {
    pub name: String,
    pub threads_run: u64,
    pub cpu_seconds: f64,
    pub daemon_cpu_seconds: f64,
    pub memory_bytes: u64,
}

/// Faults by cause, and how long they took.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/reference/stats.md describes each")]
pub struct Faults {
    pub read: u64,
    pub write: u64,
    pub upgrade: u64,
    pub p50_us: f64,
    pub p99_us: f64,
}

impl RunStatistics {
    /// Adds up what the nodes did.
    #[must_use]
    pub fn new(nodes: &[NodeStatistics], wall_seconds: f64) -> Self {
        let mut histogram = vec![0; BUCKETS];
        for (sum, count) in
            nodes.iter().flat_map(|node| node.histogram.iter().enumerate()).map(|(i, c)| (i, *c))
        {
            if let Some(slot) = histogram.get_mut(sum) {
                *slot += count;
            }
        }
        let total = |value: fn(&NodeStatistics) -> u64| nodes.iter().map(value).sum();
        Self {
            nodes: nodes
                .iter()
                .map(|node| NodeLine {
                    name: node.name.clone(),
                    threads_run: node.threads,
                    cpu_seconds: node.cpu_seconds,
                    daemon_cpu_seconds: node.daemon_cpu_seconds,
                    memory_bytes: node.memory_bytes,
                })
                .collect(),
            faults: Faults {
                read: total(|node| node.read_faults),
                write: total(|node| node.write_faults),
                upgrade: total(|node| node.upgrade_faults),
                p50_us: quantile(&histogram, 0.50),
                p99_us: quantile(&histogram, 0.99),
            },
            bytes_moved: total(|node| node.bytes_sent),
            migrations: 0,
            deputy_calls: total(|node| node.deputy_calls),
            remote_wait_seconds: nodes.iter().map(|node| node.wait_seconds).sum(),
            wall_seconds,
            memory_map: memory_map::cells(
                &nodes.iter().map(|node| node.extents.as_slice()).collect::<Vec<_>>(),
            ),
        }
    }

    /// The summary for a person.
    #[must_use]
    pub fn table(&self) -> String {
        use std::fmt::Write;
        let mut text = String::from("banyan: what ran where\n");
        let _ = writeln!(
            text,
            "  {:<10} {:>8} {:>10} {:>12} {:>12}",
            "node", "threads", "cpu", "daemon cpu", "memory"
        );
        for node in &self.nodes {
            let _ = writeln!(
                text,
                "  {:<10} {:>8} {:>8.2} s {:>10.2} s {:>8.1} MiB",
                node.name,
                node.threads_run,
                node.cpu_seconds,
                node.daemon_cpu_seconds,
                node.memory_bytes as f64 / f64::from(1 << 20),
            );
        }
        let faults = &self.faults;
        let _ = writeln!(
            text,
            "  faults: {} read, {} write, {} upgrade; half took under {:.0} us, 99 of 100 under {:.0} us",
            faults.read, faults.write, faults.upgrade, faults.p50_us, faults.p99_us
        );
        let _ = writeln!(
            text,
            "  moved {:.1} MiB; {} calls through deputies; {:.2} s waited for remote memory in {:.2} s",
            self.bytes_moved as f64 / f64::from(1 << 20),
            self.deputy_calls,
            self.remote_wait_seconds,
            self.wall_seconds
        );
        text
    }
}

fn quantile(histogram: &[u64], part: f64) -> f64 {
    let total: u64 = histogram.iter().sum();
    let wanted = (total as f64 * part).ceil() as u64;
    let mut seen = 0;
    for (bucket, count) in histogram.iter().enumerate() {
        seen += count;
        if seen >= wanted && total > 0 {
            return (bucket_end(bucket) * 10.0).round() / 10.0;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter_power_of_two() {
        let counters = Counters::default();
        for nanoseconds in (1..=1000).map(|n| n * 1000) {
            counters.fault_took(nanoseconds);
        }
        let p50 = quantile(&counters.histogram(), 0.5);
        assert!((500.0..=600.0).contains(&p50), "{p50}");
    }
}
