//! What the kernel counts of a process: its time and its memory.

use procfs::process::Process;

/// User and system time of a process, its ended threads included. 0 if there is no such process.
pub(crate) fn processor_seconds(process: u32) -> f64 {
    let stat = Process::new(process.cast_signed()).and_then(|process| process.stat());
    stat.map_or(0.0, |stat| (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// Bytes of anonymous memory that a process has. 0 if there is no such process.
pub(crate) fn private_bytes(process: u32) -> u64 {
    let status = Process::new(process.cast_signed()).and_then(|process| process.status());
    status.ok().and_then(|status| status.rssanon).unwrap_or(0) * 1024
}
