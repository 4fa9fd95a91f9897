//! Many callers at once. A program of tests by itself: what runs beside them has no processor.
#![allow(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test may fail by panicking")]

mod common;

use common::{call, open, options};
use std::time::{Duration, Instant};

/// This many threads call, as many at once as there are channels, each the given number of times.
fn threads_take_turns(threads: u64, times: u64) {
    let connection = open(|_| {});
    let long = options(60_000);
    let start = std::sync::Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        let call_some = |number: u64| {
            start.wait();
            let add = |round| call(&connection, "subject_add", &[number, round, 0, 0, 0, 0, 0, 0], &long);
            let wrong = (0..times).map(|round| (round, add(round)));
            let wrong = wrong.into_iter().find(|(round, sum)| *sum != Ok(number + round));
            // All are still there: none takes the channel of one that has ended.
            start.wait();
            assert_eq!(wrong, None, "thread {number}");
        };
        let spawn = |number| {
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, move || call_some(number)).unwrap()
        };
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(connection.statistics().ended.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn more_threads_than_channels_take_turns_also_beside_busy_ones() {
    threads_take_turns(500, 5);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < until {
                    std::hint::spin_loop();
                }
            });
        }
        threads_take_turns(500, 1);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
