//! What a call costs that goes well: null calls, spinning and blocking, and blobs; and what a worker
//! costs while nobody calls.

use super::{at, call, open, options, times};
use crate::row::Row;
use banyan_calls::Wait;
use banyan_calls::blob::{Blob, Blobs, Sharing};
use banyan_calls::error::CallError;
use banyan_calls::measuring::NULL_FUNCTION;
use banyan_calls::measuring::process_cpu_ns;
use std::time::Duration;

/// The rounds in which ours, the floors and the rivals take turns; the times of all rounds are put together.
const ROUNDS: usize = 8;

/// A contestant and the times of its rounds.
struct Lane<'a> {
    name: &'static str,
    round: Box<dyn FnMut() -> Result<Vec<u64>, CallError> + 'a>,
    times: Vec<u64>,
}

impl<'a> Lane<'a> {
    fn new(name: &'static str, round: impl FnMut() -> Result<Vec<u64>, CallError> + 'a) -> Self {
        Self { name, round: Box::new(round), times: Vec::new() }
    }
}

/// Has all lanes take turns.
fn interleave(lanes: &mut [Lane<'_>]) -> Result<(), CallError> {
    for _ in 0..ROUNDS {
        for lane in &mut *lanes {
            lane.times.extend((lane.round)()?);
        }
    }
    Ok(())
}

fn list(lanes: &[Lane<'_>]) -> String {
    let lanes = lanes.iter().map(|lane| {
        format!("{} {:.3} us (p99 {:.3})", lane.name, at(&lane.times, 0.5), at(&lane.times, 0.99))
    });
    lanes.collect::<Vec<_>>().join(", ")
}

/// The null call while both ends spin, against the round trip of a cache line.
pub(super) fn spinning() -> Result<Vec<Row>, CallError> {
    let connection = open()?;
    let spin = options(Wait::Spin);
    let null = || call(&connection, NULL_FUNCTION, &[], &spin).map(drop);
    times(10_000, null)?;
    let mut lanes = vec![
        Lane::new("floor", || Ok(super::floors::spin(25_000))),
        Lane::new("null call", || times(25_000, null)),
    ];
    #[cfg(feature = "rivals")]
    lanes.extend(super::rivals::SPINNING.iter().map(|(name, round)| Lane::new(name, round)));
    interleave(&mut lanes)?;
    let (floor, p50) = (at(&lanes[0].times, 0.5), at(&lanes[1].times, 0.5));
    let ok = p50 <= 0.40 && p50 <= 1.5 * floor;
    let detail = format!("death notice on; {}", list(&lanes));
    Ok(vec![
        Row::new("call.null.spinning", p50, "us")
            .judged("at most 0.4 us and 1.5 x the floor", ok)
            .against("a round trip of a cache line", p50 / floor)
            .note(detail),
    ])
}

/// The null call while both ends sleep, against what the kernel takes.
pub(super) fn blocking() -> Result<Vec<Row>, CallError> {
    let connection = open()?;
    let block = options(Wait::Block);
    let null = || call(&connection, NULL_FUNCTION, &[], &block).map(drop);
    times(2000, null)?;
    let mut lanes = vec![
        Lane::new("floor, a futex on one processor", || Ok(super::floors::futex(5000))),
        Lane::new("null call", || times(5000, null)),
        Lane::new("a Unix socket on one processor", || Ok(super::floors::socket(2000))),
    ];
    #[cfg(feature = "rivals")]
    lanes.extend(super::rivals::BLOCKING.iter().map(|(name, round)| Lane::new(name, round)));
    interleave(&mut lanes)?;
    let (floor, p50, p99) = (at(&lanes[0].times, 0.5), at(&lanes[1].times, 0.5), at(&lanes[1].times, 0.99));
    let detail = format!("hand-over on the caller's processor; {}", list(&lanes));
    Ok(vec![
        Row::new("call.null.blocking.p50", p50, "us")
            .judged("at most 2.5 us", p50 <= 2.5)
            .against("a futex on one processor", p50 / floor)
            .note(detail),
        Row::new("call.null.blocking.p99", p99, "us").judged("at most 10 us", p99 <= 10.0),
    ])
}

/// Processor time while nobody calls.
pub(super) fn idle() -> Result<Vec<Row>, CallError> {
    let connection = open()?;
    call(&connection, NULL_FUNCTION, &[], &options(Wait::Adaptive))?;
    std::thread::sleep(Duration::from_millis(50));
    let used = || -> u64 {
        let processes = connection.worker_processes().into_iter().chain([connection.babysitter_process()]);
        processes.filter_map(process_cpu_ns).sum()
    };
    let before = used();
    std::thread::sleep(Duration::from_secs(1));
    let idle = (used() - before) as f64 / 1000.0;
    let row = Row::new("call.idle", idle, "us in 1 s").judged("none", idle == 0.0);
    Ok(vec![row.note("worker, spare and babysitter")])
}

/// What a call costs more whose arguments are blobs of a MiB.
pub(super) fn blobs() -> Result<Vec<Row>, CallError> {
    let connection = open()?;
    let spin = options(Wait::Spin);
    let blobs = Blobs::new(&connection);
    let none = || CallError::NoService("no blob memory".into());
    let input = Blob::<u64, _>::new(&blobs, 131_072, Sharing::Constant).ok_or_else(none)?;
    let output = Blob::<u64, _>::new(&blobs, 131_072, Sharing::Writable).ok_or_else(none)?;
    let arguments = [output.address(), input.address(), 1 << 20];
    times(10_000, || call(&connection, NULL_FUNCTION, &arguments, &spin).map(drop))?;
    let mut lanes = vec![
        Lane::new("null call", || times(10_000, || call(&connection, NULL_FUNCTION, &[], &spin).map(drop))),
        Lane::new("with blobs", || {
            times(10_000, || call(&connection, NULL_FUNCTION, &arguments, &spin).map(drop))
        }),
        Lane::new("with the callee's memcpy of the MiB", || {
            times(50, || call(&connection, super::MEMCPY, &arguments, &spin).map(drop))
        }),
    ];
    interleave(&mut lanes)?;
    let extra = at(&lanes[1].times, 0.5) - at(&lanes[0].times, 0.5);
    let detail = format!("the callee's own work not counted; {}", list(&lanes));
    Ok(vec![
        Row::new("call.blobs", extra, "us")
            .judged("at most 1 us above a null call", extra <= 1.0)
            .note(detail),
    ])
}
