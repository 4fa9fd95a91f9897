//! Calls that go on by themselves: awaited, waited for, cancelled.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::pending::Pending;
use banyan_calls::{CallError, Ran, begin, isolated};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

#[isolated(deadline = "20s")]
fn square(number: u64) -> u64 {
    number * number
}

/// Says which process it is in, and goes on for ever.
#[isolated(deadline = "60s")]
fn stay(path: PathBuf) {
    std::fs::write(&path, std::process::id().to_string()).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

#[isolated(deadline = "20s")]
fn crash(_number: u64) -> u64 {
    std::process::abort()
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor: one future, on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let begun = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(begun.elapsed() < PATIENCE, "it is not woken");
        std::thread::park_timeout(PATIENCE);
    }
}

fn within<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The process that `stay` runs in, once it does.
fn process_of(path: &Path) -> u32 {
    within(|| std::fs::read_to_string(path).ok()?.parse().ok())
}

fn has_ended(process: u32) -> bool {
    // It may be a zombie for a moment, whose parent has yet to collect it.
    let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
    status.map_or(true, |status| status.contains(") Z"))
}

#[test]
fn calls_are_awaited_and_waited_for() {
    let many: Vec<Pending<u64>> = (0..200).map(|number| begin!(square(number))).collect();
    let sum = block_on(async {
        let mut sum = 0;
        for one in many {
            sum += one.await?;
        }
        Ok::<_, CallError>(sum)
    });
    assert_eq!(sum, Ok((0..200).map(|number| number * number).sum()));
    assert_eq!(begin!(square(9)).wait(), Ok(81));
    assert!(matches!(block_on(begin!(crash(0))), Err(CallError::Crashed { signal: 6, .. })));
    let panics = Pending::<u64>::begin(|| panic!("on purpose"));
    assert!(matches!(panics.wait(), Err(CallError::Failed(_))));
    let one = begin!(square(3));
    within(|| one.has_ended().then_some(()));
    assert_eq!(block_on(one), Ok(9));
}

/// A call that is cancelled, or that nobody waits for any more, is over at once, and its worker within
/// moments; one that has not begun never does. What comes afterwards is served.
#[test]
fn a_call_that_is_cancelled_ends() {
    let place = |name: String| common::directory().join(name);
    for round in 0..5 {
        // As many as run at once, and one more.
        let width = std::thread::available_parallelism().unwrap().get();
        let paths: Vec<PathBuf> = (0..width).map(|number| place(format!("{round} {number}"))).collect();
        let mut stay_on: Vec<Pending<()>> = paths.iter().map(|path| begin!(stay(path.clone()))).collect();
        let processes: Vec<u32> = paths.iter().map(|path| process_of(path)).collect();
        let waits = begin!(stay(place(format!("{round} waits"))));
        waits.cancel();
        assert_eq!(waits.wait(), Err(CallError::Cancelled { ran: Ran::No }));
        let last = stay_on.pop().unwrap();
        let begun = Instant::now();
        last.cancel();
        assert_eq!(block_on(last), Err(CallError::Cancelled { ran: Ran::Maybe }));
        assert!(begun.elapsed() < Duration::from_secs(1), "who cancels does not wait");
        drop(stay_on);
        for process in processes {
            within(|| has_ended(process).then_some(()));
        }
        assert_eq!(begin!(square(round)).wait(), Ok(round * round));
        assert!(!place(format!("{round} waits")).exists(), "what was cancelled before its turn never runs");
    }
}
