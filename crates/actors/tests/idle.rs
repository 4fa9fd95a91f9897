//! Hosts that have nothing to do use no processor time. Alone in its process, whose time is what is looked
//! at.

use std::time::Duration;

use banyan_actors::{Addr, Configuration, Runtime, RuntimeOptions, closure};

/// Processor time that this process has used.
fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[test]
fn hosts_without_work_sleep_and_wake_up_again() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 4, pin: false, ..RuntimeOptions::default() })
        .expect("threads");
    let echo = closure((), |(), (number, reply): &(u64, Addr<u64>), work| {
        work.send(reply, *number);
        Ok(())
    });
    let echo: Addr<(u64, Addr<u64>)> =
        runtime.create(Configuration::new("echo").with_behaviour(echo)).typed();
    let ask = |number: u64| {
        let answer = runtime.ask(&echo, Duration::from_secs(20), |reply| (number, reply));
        assert_eq!(answer, Ok(number));
    };
    ask(1);
    // A host that has just worked may look for more for a moment.
    std::thread::sleep(Duration::from_millis(100));
    let before = used();
    std::thread::sleep(Duration::from_millis(1000));
    let idle = used() - before;
    // One of the four that span would have used ten times as much.
    assert!(idle < Duration::from_millis(100), "four idle hosts used {idle:?} in a second");
    ask(2);
}
