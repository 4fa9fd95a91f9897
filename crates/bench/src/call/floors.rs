//! What the machine itself takes: for a round trip over a cache line, a futex, a socket; for a process.
//!
//! Measured in the same rounds as calls, so that ratios mean the same on any machine.

use banyan_calls::measuring::{
    Processors, counter, current_processor, futex_wait, futex_wake, place_thread, thread_id,
};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Release};

/// Alone on its cache line, and on the one that processors fetch with it.
#[repr(align(128))]
struct Alone<T>(T);

/// Times of `count` round trips of a shared cache line between two spinning threads, in ticks.
pub(super) fn spin(count: u64) -> Vec<u64> {
    // Where a local of either thread shares the line, the floor is twice as high.
    let (ball, stop) = (Alone(AtomicU64::new(0)), Alone(AtomicBool::new(false)));
    let (ball, stop) = (&ball.0, &stop.0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Acquire) {
                let seen = ball.load(Acquire);
                if seen % 2 == 1 {
                    ball.store(seen + 1, Release);
                }
            }
        });
        let times = (0..count)
            .map(|round| {
                let start = counter();
                ball.store(round * 2 + 1, Release);
                while ball.load(Acquire) != round * 2 + 2 {}
                counter() - start
            })
            .collect();
        stop.store(true, Release);
        times
    })
}

/// Times of `count` round trips of a futex between two threads on the caller's processor, in ticks.
pub(super) fn futex(count: u32) -> Vec<u64> {
    let (ball, other) = (AtomicU32::new(0), AtomicU32::new(0));
    let (allowed, here) = (Processors::of_this_thread(), current_processor());
    std::thread::scope(|scope| {
        place_thread(thread_id(), here);
        scope.spawn(|| {
            place_thread(thread_id(), here);
            for round in 1..=count {
                while ball.load(Acquire) != round {
                    futex_wait(&ball, round - 1, 1_000_000_000);
                }
                other.store(round, Release);
                futex_wake(&other, 1);
            }
        });
        let times = (1..=count)
            .map(|round| {
                let start = counter();
                ball.store(round, Release);
                futex_wake(&ball, 1);
                while other.load(Acquire) != round {
                    futex_wait(&other, round - 1, 1_000_000_000);
                }
                counter() - start
            })
            .collect();
        allowed.take();
        times
    })
}

/// Times of `count` round trips of 64 bytes over a Unix stream socket between two threads on the
/// caller's processor, in ticks; fewer when the socket fails.
pub(super) fn socket(count: usize) -> Vec<u64> {
    use std::io::{Read, Write};
    let Ok((mut near, mut far)) = std::os::unix::net::UnixStream::pair() else { return Vec::new() };
    let (allowed, here) = (Processors::of_this_thread(), current_processor());
    let mut times = Vec::with_capacity(count);
    std::thread::scope(|scope| {
        place_thread(thread_id(), here);
        scope.spawn(move || {
            place_thread(thread_id(), here);
            let mut bytes = [0; 64];
            while far.read_exact(&mut bytes).and_then(|()| far.write_all(&bytes)).is_ok() {}
        });
        let mut bytes = [0; 64];
        for _ in 0..count {
            let start = counter();
            if near.write_all(&bytes).and_then(|()| near.read_exact(&mut bytes)).is_err() {
                break;
            }
            times.push(counter() - start);
        }
        allowed.take();
        drop(near);
    });
    times
}

/// Times of `count` forks of this process that end at once and are waited for, in ticks.
pub(super) fn fork(count: usize) -> Vec<u64> {
    let one = || {
        let start = counter();
        // SAFETY: the child ends at once.
        match unsafe { banyan_calls::measuring::fork() } {
            Ok(0) => banyan_calls::measuring::end_now(0),
            // SAFETY: waits for our own child.
            Ok(child) => unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), 0) },
            Err(_) => 0,
        };
        counter() - start
    };
    (0..count).map(|_| one()).collect()
}
