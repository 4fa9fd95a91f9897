//! The services of this machine that can be looked at: every babysitter, found by the memory it
//! holds, and what it and its caller have written there.
//!
//! Nothing is registered anywhere: a babysitter keeps its window's file open, and who may open it
//! through `/proc` may read it. All that is read is checked. Not for changing anything.

use crate::shared::layout::{
    CHANNELS, CONFIGURATION_OFFSET, CONTROL_BROKEN, CONTROL_FAILED, CONTROL_READY, Control, Counts,
    REPORT_OFFSET, SLOT_CURRENT, SLOT_SPARE, SLOTS, SlotState, TEXT_MAX, WINDOW_BYTES,
};
use crate::shared::service::{Layer, Order, Report};
use crate::sys::process::Launch;
use serde::Serialize;
use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;

/// One service.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedService {
    /// The babysitter's process.
    pub babysitter: u32,
    /// The caller's process.
    pub caller: u32,
    /// The library, or the program whose functions are called.
    pub what: String,
    /// `serving`, `paused` by the crash-loop breaker, `failed` or `starting`.
    pub state: &'static str,
    /// The worker processes in use.
    pub workers: Vec<u32>,
    /// The worker processes that stand ready.
    pub spares: Vec<u32>,
    /// Workers that may run at once.
    pub workers_max: u32,
    /// Calls that returned.
    pub calls: u64,
    /// Workers that ended during a call.
    pub ended: u64,
    /// Calls that succeeded after a retry.
    pub absorbed: u64,
    /// Calls that were timed: one in 64.
    pub sampled: u64,
    /// Their times together, in nanoseconds.
    pub sampled_ns: u64,
    /// The layers of the sandbox.
    pub layers: Vec<Layer>,
}

struct Memory(Vec<u8>);

impl Memory {
    fn u32(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }
}

fn text(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    if length == 0 || length > TEXT_MAX {
        return None;
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn observe(process: u32) -> Option<ObservedService> {
    let path = format!("/proc/{process}/fd/{}", Launch::DESCRIPTOR);
    let target = std::fs::read_link(&path).ok()?;
    if !target.to_string_lossy().starts_with("/memfd:banyan-calls") {
        return None;
    }
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.len() != WINDOW_BYTES {
        return None;
    }
    let mut memory = vec![0; size_of::<Control>()];
    file.read_exact_at(&mut memory, 0).ok()?;
    let memory = Memory(memory);
    if memory.u32(offset_of!(Control, babysitter)) != process {
        return None;
    }
    let order: Order =
        text(&file, CONFIGURATION_OFFSET, memory.u64(offset_of!(Control, configuration_length)))
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())?;
    let report: Report = text(&file, REPORT_OFFSET, memory.u64(offset_of!(Control, report_length)))
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let slot = |index: usize, field: usize| {
        memory.u32(offset_of!(Control, slots) + index * size_of::<SlotState>() + field)
    };
    let in_state = |state: u32| {
        let slots = (1..SLOTS).filter(move |&index| slot(index, offset_of!(SlotState, state)) == state);
        slots.map(|index| slot(index, offset_of!(SlotState, process))).collect::<Vec<u32>>()
    };
    let sum = |field: usize| {
        let counts = (0..CHANNELS).map(|index| index * size_of::<Counts>() + field);
        counts.map(|at| memory.u64(offset_of!(Control, counts) + at)).fold(0_u64, u64::wrapping_add)
    };
    let program = || {
        let path = std::fs::read_link(format!("/proc/{process}/exe"));
        path.map_or_else(|_| "?".into(), |path| format!("functions of {}", path.display()))
    };
    Some(ObservedService {
        babysitter: process,
        caller: order.client,
        what: order.configuration.library.map_or_else(program, |path| path.display().to_string()),
        state: match memory.u32(offset_of!(Control, status)) {
            CONTROL_READY => "serving",
            CONTROL_BROKEN => "paused",
            CONTROL_FAILED => "failed",
            _ => "starting",
        },
        workers: in_state(SLOT_CURRENT),
        spares: in_state(SLOT_SPARE),
        workers_max: memory.u32(offset_of!(Control, workers)),
        calls: sum(offset_of!(Counts, calls)),
        ended: memory.u64(offset_of!(Control, ended)),
        absorbed: sum(offset_of!(Counts, absorbed)),
        sampled: sum(offset_of!(Counts, sampled)),
        sampled_ns: sum(offset_of!(Counts, sampled_ns)),
        layers: report.layers,
    })
}

/// All services whose memory this user may read, by babysitter.
#[must_use]
pub fn services() -> Vec<ObservedService> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(observe).collect()
}

/// What happened to one service between two looks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rate {
    /// Calls that returned, per second.
    pub calls_per_second: f64,
    /// Mean time of the calls that were timed, in microseconds, if any was.
    pub latency_us: Option<f64>,
    /// Workers that ended during a call, per second.
    pub ended_per_second: f64,
}

impl ObservedService {
    /// The rates since `before`, which was `seconds` ago.
    #[must_use]
    pub fn since(&self, before: &Self, seconds: f64) -> Rate {
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let sampled = self.sampled.saturating_sub(before.sampled);
        let time_us = self.sampled_ns.saturating_sub(before.sampled_ns) as f64 / 1000.0;
        Rate {
            calls_per_second: per_second(self.calls, before.calls),
            latency_us: (sampled > 0).then(|| time_us / sampled as f64),
            ended_per_second: per_second(self.ended, before.ended),
        }
    }
}
