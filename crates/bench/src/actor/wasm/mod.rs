//! What containment costs: metering against none, restoring an instance, capturing its state; and what it is
//! worth to a neighbour ([`zoo`]).
//!
//! Every figure is made of rounds that are interleaved with what it is compared to. The guests are
//! `examples/guests/kernels`, compiled; the calls are those of an event without the runtime around it.

mod zoo;

use std::time::{Duration, Instant};

use banyan_actors::wasm::bare::{BareError, BareInstance, BareState};
use banyan_actors::wasm::{Engine, EngineOptions, Limits, Metering, Module};

use crate::row::Row;
use crate::statistics::{geometric_mean, median, percentile};

const KERNELS: &[u8] = include_bytes!("../../../../../examples/guests/prebuilt/kernels.wasm");
/// Names of the kernels, and how much of each takes a few milliseconds.
const AMOUNTS: [(&str, u32); 6] =
    [("hash", 1_500), ("sieve", 20), ("matrix", 20), ("fibonacci", 26), ("interpret", 2_000), ("sort", 8)];
/// The behaviour that writes pages.
const TOUCH: u32 = 6;
const MEMORY: usize = 1 << 20;

/// Why a bench could not be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    /// No engine.
    #[error(transparent)]
    Engine(#[from] banyan_actors::wasm::EngineError),
    /// No module.
    #[error(transparent)]
    Module(#[from] banyan_actors::wasm::ModuleError),
    /// A guest failed.
    #[error("a guest of the bench failed: {0}")]
    Guest(String),
    /// A step of an instance failed.
    #[error(transparent)]
    Bare(#[from] BareError),
    /// No memory.
    #[error("no memory for the bench: {0}")]
    Memory(#[from] std::io::Error),
}

/// Measures some rows.
type Measure = fn() -> Result<Vec<Row>, BenchError>;

/// The name of the row, or what the names of the rows begin with; what is measured; how.
pub(super) const BENCHES: &[(&str, &str, Measure)] = &[
    ("actor.wasm.metering", "guests that count their fuel against guests that do not", || metering(15)),
    ("actor.wasm.restore", "making an instance from a kept state of 1 MiB", || restore(5_000)),
    ("actor.wasm.capture", "keeping what an event wrote", || Ok(vec![capture(1_000)?])),
    ("actor.wasm.bombs", "a neighbour's latency beside six bombs", || Ok(vec![zoo::neighbours(5)?])),
];

fn engine(metering: Metering) -> Result<Engine, BenchError> {
    let limits = Limits { memory_bytes: 2 << 20, ..Limits::default() };
    Ok(Engine::new(EngineOptions { metering, limits, actors: 64, ..EngineOptions::default() })?)
}

fn fresh(module: &Module) -> Result<(BareState, BareInstance), BenchError> {
    let state = BareState::new(module)?;
    let instance = state.instance(module)?;
    Ok((state, instance))
}

/// What the calling thread has used of its processor: others may run in between.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The clock alone, and fuel with the clock, against neither.
///
/// # Errors
/// [`BenchError`].
pub(super) fn metering(rounds: usize) -> Result<Vec<Row>, BenchError> {
    let kinds = [Metering::None, Metering::Epoch, Metering::Fuel];
    let mut instances = Vec::new();
    for kind in kinds {
        // Each engine's module and image are kept alive by its instance.
        instances.push(fresh(&engine(kind)?.compile(KERNELS)?)?);
    }
    let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
    let mut details = [String::new(), String::new(), String::new()];
    for (behaviour, (name, amount)) in AMOUNTS.iter().enumerate() {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..rounds {
            // The order turns, so that none always comes after the same.
            for index in 0..kinds.len() {
                let kind = (index + round) % kinds.len();
                let begun = processor_time();
                instances[kind].1.receive(behaviour as u32, *amount)?;
                times[kind].push(processor_time().saturating_sub(begun));
            }
        }
        let medians = times.map(|times| median(times.iter().map(Duration::as_secs_f64)));
        for kind in 1..kinds.len() {
            let ratio = medians[kind] / medians[0];
            ratios[kind].push(ratio);
            details[kind].push_str(&format!("{name} {ratio:.2}, "));
        }
    }
    let figure = |name, kind: usize, bar| {
        let ratio = geometric_mean(&ratios[kind]);
        let detail =
            format!("processor time, median of {rounds} rounds: {}", details[kind].trim_end_matches(", "));
        let row = Row::new(name, ratio, "x").judged(format!("at most {bar:.2} x unmetered"), ratio <= bar);
        row.against("unmetered", ratio).note(detail)
    };
    Ok(vec![figure("actor.wasm.metering.epoch", 1, 1.10), figure("actor.wasm.metering.fuel", 2, 1.25)])
}

/// An instance from a kept state whose memory is 1 MiB, all of it written.
///
/// # Errors
/// [`BenchError`].
pub(super) fn restore(rounds: usize) -> Result<Vec<Row>, BenchError> {
    let module = engine(Metering::Fuel)?.compile(KERNELS)?;
    let (mut state, mut instance) = fresh(&module)?;
    for page in (0..MEMORY).step_by(4096) {
        // A page of zeroes might be had more cheaply.
        state.write(MEMORY, page + 4000, &[1]);
    }
    instance.keep_globals(&mut state);
    drop(instance);
    let (mut times, mut first) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let mut instance = state.instance(&module)?;
        times.push(begun.elapsed());
        // Four pages written, and a few read: what an event would cost that comes next.
        first.push(instance.receive(TOUCH, 4)?);
    }
    let times: Vec<f64> = times.into_iter().map(micros).collect();
    let (p50, p99) = (median(times.iter().copied()), percentile(times.iter().copied(), 0.99));
    let event = median(first.into_iter().map(micros));
    let detail = format!("p50 {p50:.1}, p99 {p99:.1}; its first event, which writes 4 pages, {event:.1}");
    let figure = |name, value: f64, bar: f64| {
        Row::new(name, value, "us").judged(format!("at most {bar} us"), value <= bar).note(detail.clone())
    };
    Ok(vec![figure("actor.wasm.restore.p50", p50, 15.0), figure("actor.wasm.restore.p99", p99, 100.0)])
}

/// What an event wrote, found and copied: against 2 us and 0.8 us for each page written.
///
/// # Errors
/// [`BenchError`].
pub(super) fn capture(rounds: usize) -> Result<Row, BenchError> {
    let module = engine(Metering::Fuel)?.compile(KERNELS)?;
    let (mut state, mut instance) = fresh(&module)?;
    let (mut worst, mut value, mut detail) = (0.0f64, 0.0, String::new());
    for pages in [1u32, 4, 16, 64] {
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..rounds {
            instance.receive(TOUCH, pages)?;
            let begun = Instant::now();
            found += instance.capture(&mut state)?;
            times.push(begun.elapsed());
        }
        let time = median(times.into_iter().map(micros));
        // The guest's counter and result are in a page of their own.
        let written = found as f64 / rounds as f64;
        let ratio = time / (2.0 + 0.8 * written);
        detail.push_str(&format!("{written:.1} pages {time:.1} us, "));
        if ratio > worst {
            (worst, value) = (ratio, time);
        }
    }
    let detail = detail.trim_end_matches(", ").to_owned();
    let bar = "at most 2 us and 0.8 us a page".to_owned();
    Ok(Row::new("actor.wasm.capture", value, "us")
        .judged(bar, worst <= 1.0)
        .against("its bar", worst)
        .note(detail))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    /// The benches run; their figures are not judged here.
    #[test]
    fn every_figure_is_there() {
        let mut figures = super::metering(1).unwrap();
        figures.extend(super::restore(3).unwrap());
        figures.push(super::capture(3).unwrap());
        figures.push(super::zoo::neighbours(1).unwrap());
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        let expected = [
            "actor.wasm.metering.epoch",
            "actor.wasm.metering.fuel",
            "actor.wasm.restore.p50",
            "actor.wasm.restore.p99",
            "actor.wasm.capture",
            "actor.wasm.bombs.p99",
        ];
        assert_eq!(names, expected);
        assert!(figures.iter().all(|figure| figure.value > Some(0.0) && figure.ok.is_some()));
    }
}
