//! Kills at random under load: of workers, babysitters and understudies, but for a babysitter whose
//! understudy has ended.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::Connection;
use common::processes::{has_ended, send};
use common::{call, open, options};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(400);
/// What the bar allows a call beyond its deadline, and what this test, on a machine that does other things.
const ALLOWED: Duration = Duration::from_millis(50);
const ASSERTED: Duration = Duration::from_secs(5);
/// The bar: service is back after this time. What is lost later is counted and printed.
const BACK: Duration = Duration::from_secs(1);
/// What this test waits for each caller to be served again.
const SERVED: Duration = Duration::from_secs(30);
const CALLERS: usize = 3;
/// Kills in a row before the callers are left alone for that time.
const ROW: u32 = 25;

/// A number that looks random, by a counter (splitmix64).
fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn lives(process: u32) -> bool {
    process != 0 && !has_ended(process)
}

/// The processes that were killed and have not ended: on a busy machine that takes its time.
#[derive(Default)]
struct Killed(Vec<u32>);

impl Killed {
    fn kill(&mut self, process: u32) {
        if process != 0 {
            send(process, Signal::KILL);
            self.0.push(process);
        }
    }

    /// Waits until the babysitter and an understudy behind it live on: with both the service ends.
    fn await_both(&mut self, connection: &Connection) -> [u32; 2] {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.0.retain(|&process| lives(process));
            let both = [connection.babysitter_process(), connection.understudy_process()];
            if both[0] != both[1] && both.iter().all(|&one| lives(one) && !self.0.contains(&one)) {
                return both;
            }
            assert!(Instant::now() < deadline, "there is no understudy");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One of the service's processes, of each kind as often.
    fn victim(&mut self, connection: &Connection, random: u64) -> u32 {
        match random as usize % 3 {
            2 => {
                let workers = connection.worker_processes();
                workers.get(random as usize / 3 % workers.len().max(1)).copied().unwrap_or(0)
            }
            kind => self.await_both(connection)[kind],
        }
    }
}

/// Has the callers end when it is dropped, by a panic too.
struct EndsCallers<'a>(&'a AtomicBool);

impl Drop for EndsCallers<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[derive(Default)]
struct Seen {
    calls: AtomicU32,
    failed: AtomicU32,
    late: AtomicU32,
    far_too_late: AtomicU32,
    /// Failed though nothing was killed for a while.
    lost: AtomicU32,
    /// Calls that ended well, by caller.
    served: [AtomicU32; CALLERS],
}

/// Waits until each caller has been served once more.
fn all_are_served(seen: &Seen) {
    let deadline = Instant::now() + SERVED;
    for (caller, served) in seen.served.iter().enumerate() {
        let before = served.load(SeqCst);
        while served.load(SeqCst) == before {
            assert!(Instant::now() < deadline, "caller {caller} is not served any more");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn the_next_call_is_served_after_a_kill_of_any_process() {
    let kills = std::env::var("BANYAN_CALL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let connection = open(|configuration| configuration.spares = 2);
    let (seen, ends, is_quiet) = (Seen::default(), AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (caller, served) in seen.served.iter().enumerate() {
            let (connection, seen, ends, is_quiet) = (&connection, &seen, &ends, &is_quiet);
            scope.spawn(move || {
                let values = [caller as u64; 64];
                while !ends.load(SeqCst) {
                    let was_quiet = is_quiet.load(SeqCst);
                    let began = Instant::now();
                    let arguments = [values.as_ptr() as u64, 64];
                    let options = options(DEADLINE.as_millis() as u64);
                    let result = call(connection, "subject_sum", &arguments, &options);
                    let beyond = began.elapsed().saturating_sub(DEADLINE);
                    seen.calls.fetch_add(1, SeqCst);
                    seen.late.fetch_add(u32::from(beyond > ALLOWED), SeqCst);
                    seen.far_too_late.fetch_add(u32::from(beyond > ASSERTED), SeqCst);
                    seen.failed.fetch_add(u32::from(result.is_err()), SeqCst);
                    served.fetch_add(u32::from(result.is_ok()), SeqCst);
                    if was_quiet && is_quiet.load(SeqCst) && result.is_err() {
                        println!("lost: {result:?}");
                        seen.lost.fetch_add(1, SeqCst);
                    }
                }
            });
        }
        let _ends = EndsCallers(&ends);
        let mut state = 1;
        let mut killed = Killed::default();
        for kill in 1..=kills {
            let victim = killed.victim(&connection, mixed(&mut state));
            killed.kill(victim);
            std::thread::sleep(Duration::from_millis(2 + mixed(&mut state) % 30));
            if kill % ROW == 0 || kill == kills {
                std::thread::sleep(BACK);
                is_quiet.store(true, SeqCst);
                std::thread::sleep(Duration::from_millis(200));
                all_are_served(&seen);
                is_quiet.store(false, SeqCst);
            }
        }
    });
    let [calls, failed, late, far_too_late, lost] =
        [&seen.calls, &seen.failed, &seen.late, &seen.far_too_late, &seen.lost]
            .map(|count| count.load(SeqCst));
    println!(
        "{kills} kills: {calls} calls, {failed} failed, {late} later than deadline and {ALLOWED:?}, {lost} lost"
    );
    assert_eq!(far_too_late, 0);
}

/// More than a babysitter may have descriptors, and more frames than its stack has room for.
#[test]
fn any_number_of_babysitters_follow_each_other() {
    let connection = open(|configuration| configuration.spares = 0);
    let mut killed = Killed::default();
    let descriptors = |process: u32| std::fs::read_dir(format!("/proc/{process}/fd")).map(Iterator::count);
    let first = descriptors(killed.await_both(&connection)[0]).unwrap();
    for _ in 0..400 {
        let [babysitter, _] = killed.await_both(&connection);
        killed.kill(babysitter);
    }
    let last = killed.await_both(&connection)[0];
    assert_eq!(call(&connection, "subject_fail", &[0], &options(20_000)), Ok(7));
    let last = descriptors(last).unwrap();
    assert!(last < first + 50, "{last} descriptors, of the first {first}");
}
