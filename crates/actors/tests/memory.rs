//! Memory is given back: what a million actors took is not there any more when they have ended.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::{Duration, Instant};

use banyan_actors::{Addr, Configuration, Context, Runtime, RuntimeOptions, closure};

const ACTORS: u32 = 1_000_000;
/// Actors that one event makes.
const PART: u32 = 10_000;

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn wait_for(runtime: &Runtime, actors: usize) {
    let until = Instant::now() + Duration::from_secs(120);
    while runtime.configurations()[0].actors != actors {
        assert!(Instant::now() < until, "{:?}", runtime.configurations());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_million_actors_that_have_ended_take_nothing() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 1, ..RuntimeOptions::default() }).unwrap();
    let mortals = closure(Vec::<Addr<()>>::new(), |mortals, end: &bool, context: &mut Context<'_>| {
        if *end {
            for mortal in mortals.drain(..) {
                context.send(&mortal, ());
            }
            *mortals = Vec::new();
            return Ok(());
        }
        for _ in 0..PART {
            let mortal = closure([7_u64; 4], |_, (): &(), context: &mut Context<'_>| {
                context.stop();
                Ok(())
            });
            mortals.push(context.create(mortal)?.typed());
        }
        Ok(())
    });
    let mortals: Addr<bool> = runtime.create(Configuration::new("mortals").with_behaviour(mortals)).typed();
    wait_for(&runtime, 1);
    let before = resident();
    for _ in 0..ACTORS / PART {
        runtime.send(&mortals, false);
    }
    wait_for(&runtime, 1 + ACTORS as usize);
    let most = resident();
    runtime.send(&mortals, true);
    wait_for(&runtime, 1);
    // It is given back beside the host's own work.
    let (took, until) = (most - before, Instant::now() + Duration::from_secs(60));
    loop {
        let kept = resident().saturating_sub(before);
        if kept < took / 8 {
            break;
        }
        assert!(Instant::now() < until, "{kept} bytes of {took} are kept");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(runtime.log_lines(), [""; 0], "nothing went wrong with it");
}
