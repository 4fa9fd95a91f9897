//! What a run cost, per node: threads, CPU time, faults, bytes, and the time lost to remote memory.

use crate::observe::memory_map::{self, Cell};
use banyan_wire::statistics::{NodeStatistics, WaitCount};
use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// The resolution of durations: shorter differences do not count.
const SHORTEST_NANOSECONDS: u64 = 100;
/// Longer faults are counted with this one: a peer that is silent for this long has been declared dead.
const LONGEST_NANOSECONDS: u64 = 60_000_000_000;
/// Significant digits of a duration.
const DIGITS: u8 = 2;

/// Why a thread waits for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCause {
    /// It reads one that is not here.
    Read,
    /// It writes one that is not here.
    Write,
    /// It writes one that is here for reading.
    Upgrade,
}

impl FaultCause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Upgrade];

    /// Its name, as the statistics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Upgrade => "upgrade",
        }
    }
}

/// Counters of one node, updated by the pager and the request service.
#[derive(Debug)]
pub struct Counters {
    /// Faults of each cause.
    faults: [AtomicU64; 3],
    /// Nanoseconds that threads waited for pages.
    pub wait_nanoseconds: AtomicU64,
    /// System calls made by deputies.
    pub deputy_calls: AtomicU64,
    /// How long faults took, for each cause.
    waits: Mutex<[Histogram<u64>; 3]>,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            faults: [zero(), zero(), zero()],
            wait_nanoseconds: zero(),
            deputy_calls: zero(),
            waits: Mutex::new([no_waits(), no_waits(), no_waits()]),
        }
    }
}

impl Counters {
    /// Counts the time a fault took until its page was mapped.
    pub fn fault_took(&self, cause: FaultCause, nanoseconds: u64) {
        self.wait_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.lock()[cause as usize].saturating_record(nanoseconds);
    }

    /// Counts a fault.
    pub fn fault_begins(&self, cause: FaultCause) {
        self.faults[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many faults there were of a cause.
    #[must_use]
    pub fn faults(&self, cause: FaultCause) -> u64 {
        self.faults[cause as usize].load(Ordering::Relaxed)
    }

    /// In microseconds, what half of the faults of a cause did not exceed, and what 99 of 100 did not. None
    /// without faults.
    #[must_use]
    pub fn quantiles(&self, cause: FaultCause) -> Option<(f64, f64)> {
        let waits = &self.lock()[cause as usize];
        (!waits.is_empty()).then(|| (microseconds(waits, 0.50), microseconds(waits, 0.99)))
    }

    /// How long faults took.
    #[must_use]
    pub fn waits(&self) -> Vec<WaitCount> {
        let count = |step: hdrhistogram::iterators::IterationValue<u64>| WaitCount {
            nanoseconds: step.value_iterated_to(),
            count: step.count_at_value(),
        };
        let mut all = no_waits();
        for waits in self.lock().iter() {
            // They have the same bounds, so nothing is too large.
            let _ = all.add(waits);
        }
        all.iter_recorded().map(count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, [Histogram<u64>; 3]> {
        self.waits.lock()
    }
}

fn no_waits() -> Histogram<u64> {
    Histogram::new_with_bounds(SHORTEST_NANOSECONDS, LONGEST_NANOSECONDS, DIGITS)
        .expect("constants that are valid")
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
    /// Adds up what the nodes did, given how many threads each started, and how many moved.
    #[must_use]
    pub fn new(nodes: &[NodeStatistics], started: &[u64], migrations: u64, wall_seconds: f64) -> Self {
        let mut waits = no_waits();
        for wait in nodes.iter().flat_map(|node| &node.waits) {
            waits.saturating_record_n(wait.nanoseconds, wait.count);
        }
        let total = |value: fn(&NodeStatistics) -> u64| nodes.iter().map(value).sum();
        Self {
            nodes: nodes
                .iter()
                .zip(started)
                .map(|(node, &threads_run)| NodeLine {
                    name: node.name.clone(),
                    threads_run,
                    cpu_seconds: node.cpu_seconds,
                    daemon_cpu_seconds: node.daemon_cpu_seconds,
                    memory_bytes: node.memory_bytes,
                })
                .collect(),
            faults: Faults {
                read: total(|node| node.read_faults),
                write: total(|node| node.write_faults),
                upgrade: total(|node| node.upgrade_faults),
                p50_us: microseconds(&waits, 0.50),
                p99_us: microseconds(&waits, 0.99),
            },
            bytes_moved: total(|node| node.bytes_sent),
            migrations,
            deputy_calls: total(|node| node.deputy_calls),
            remote_wait_seconds: nodes.iter().map(|node| node.wait_seconds).sum(),
            wall_seconds,
            memory_map: memory_map::cells(
                &nodes.iter().map(|node| node.memory.as_slice()).collect::<Vec<_>>(),
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
            "  faults: {} read, {} write, {} upgrade; median {:.1} us, p99 {:.1} us",
            faults.read, faults.write, faults.upgrade, faults.p50_us, faults.p99_us
        );
        let _ = writeln!(
            text,
            "  {} moves of threads; moved {:.1} MiB; {} calls through deputies; {:.2} s waited for remote memory in {:.2} s",
            self.migrations,
            self.bytes_moved as f64 / f64::from(1 << 20),
            self.deputy_calls,
            self.remote_wait_seconds,
            self.wall_seconds
        );
        text
    }
}

/// The duration that this part of the faults did not exceed; 0 without faults.
fn microseconds(waits: &Histogram<u64>, part: f64) -> f64 {
    if waits.is_empty() {
        return 0.0;
    }
    (waits.value_at_quantile(part) as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_of_all_nodes_are_right_to_two_digits() {
        let (one, other) = (Counters::default(), Counters::default());
        for nanoseconds in (1..=1000).map(|n| n * 1000) {
            let cause = FaultCause::ALL[nanoseconds as usize / 1000 % 2];
            if nanoseconds % 3000 == 0 { &one } else { &other }.fault_took(cause, nanoseconds);
        }
        let node =
            |counters: &Counters| NodeStatistics { waits: counters.waits(), ..NodeStatistics::default() };
        let faults = RunStatistics::new(&[node(&one), node(&other)], &[1, 1], 0, 1.0).faults;
        assert!((500.0..=505.0).contains(&faults.p50_us), "{}", faults.p50_us);
        assert!((990.0..=1000.0).contains(&faults.p99_us), "{}", faults.p99_us);
    }

    #[test]
    fn a_run_without_faults_has_no_durations_and_one_endless_fault_is_bounded() {
        assert_eq!(RunStatistics::new(&[], &[], 0, 1.0).faults.p99_us, 0.0);
        let counters = Counters::default();
        assert_eq!(counters.quantiles(FaultCause::Write), None);
        counters.fault_took(FaultCause::Write, u64::MAX);
        assert!(counters.quantiles(FaultCause::Write).is_some_and(|(half, _)| half >= 6e7));
        assert_eq!(counters.quantiles(FaultCause::Read), None);
        let waits = counters.waits();
        assert_eq!(waits.len(), 1);
        assert!(
            waits[0].nanoseconds >= LONGEST_NANOSECONDS && waits[0].nanoseconds < 2 * LONGEST_NANOSECONDS
        );
    }
}
