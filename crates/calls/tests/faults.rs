//! Every way to fail, at every step: the caller gets an error within its deadline and goes on.
#![allow(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::{CallError, Connection, Wait};
use common::processes::send;
use common::{call, open, options};
use rustix::process::Signal;
use std::time::{Duration, Instant};

fn fail(how: u64, deadline_ms: u64) -> CallError {
    let connection = open(|configuration| {
        configuration.heap_bytes = 64 << 20;
        configuration.groups = 3;
    });
    let start = Instant::now();
    let error = call(&connection, "subject_fail", &[how], &options(deadline_ms)).unwrap_err();
    assert!(start.elapsed() < Duration::from_millis(deadline_ms + 700), "{how}: {:?}", start.elapsed());
    for _ in 0..3 {
        assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7), "the next call succeeds");
    }
    let processes = connection.worker_processes();
    let babysitter = connection.babysitter_process();
    drop(connection);
    gone(&processes);
    gone(&[babysitter]);
    error
}

/// No process of these is left but, for a moment, as a zombie of a parent that is ending.
fn gone(processes: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(3);
    for process in processes {
        loop {
            let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
            if state.is_err() || state.is_ok_and(|text| text.contains(") Z ")) {
                break;
            }
            assert!(Instant::now() < deadline, "process {process} is left");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn crashed(error: &CallError, with: i32) -> bool {
    matches!(error, CallError::Crashed { signal, .. } if *signal == with)
}

#[track_caller]
fn assert_crashed(how: u64, error: &CallError, with: i32) {
    assert!(crashed(error, with), "{how}: {error:?}");
}

#[test]
fn segmentation_fault_says_where() {
    let error = fail(1, 5000);
    assert!(
        matches!(error, CallError::Crashed { signal: libc::SIGSEGV, address: 8, instruction: 1.., .. }),
        "{error:?}"
    );
}

#[test]
fn killed() {
    let error = fail(2, 5000);
    assert!(crashed(&error, libc::SIGKILL) || matches!(error, CallError::Refused { .. }), "{error:?}");
}

#[test]
fn stopped() {
    let connection = open(|_| {});
    let error = call(&connection, "subject_fail", &[3], &options(300)).unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
}

#[test]
fn aborted() {
    assert_crashed(4, &fail(4, 5000), libc::SIGABRT);
}

#[test]
fn exited() {
    assert_eq!(fail(5, 5000), CallError::Exited { status: 3 });
    assert_eq!(fail(15, 5000), CallError::Exited { status: 4 });
}

#[test]
fn stack_overflow() {
    assert_crashed(6, &fail(6, 5000), libc::SIGSEGV);
}

#[test]
fn endless_loop() {
    assert!(matches!(fail(7, 300), CallError::TimedOut { .. }));
    let connection = open(|_| {});
    let mut limited = options(20_000);
    limited.cpu_limit = Some(Duration::from_millis(100));
    let start = Instant::now();
    assert!(matches!(call(&connection, "subject_fail", &[7], &limited), Err(CallError::TimedOut { .. })));
    assert!(start.elapsed() < Duration::from_secs(10), "ended by processor time, not by the deadline");
}

#[test]
fn allocation_bomb() {
    assert!(crashed(&fail(8, 10_000), libc::SIGABRT));
}

#[test]
fn fork_bomb_is_refused() {
    assert!(matches!(fail(9, 5000), CallError::Refused { call: 56..=58 }), "clone, fork or vfork");
}

#[test]
fn all_descriptors_closed() {
    let connection = open(|_| {});
    assert_eq!(call(&connection, "subject_fail", &[10], &options(5000)), Ok(7));
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
}

#[test]
fn scribbling_over_every_page() {
    let error = fail(11, 5000);
    assert!(error.is_system(), "{error:?}");
}

#[test]
fn jump_into_the_wild_and_arithmetic() {
    assert_crashed(12, &fail(12, 5000), libc::SIGSEGV);
    assert_crashed(14, &fail(14, 5000), libc::SIGFPE);
    assert_crashed(16, &fail(16, 5000), libc::SIGSEGV);
}

#[test]
fn refused_by_the_sandbox() {
    assert_eq!(fail(13, 5000), CallError::Refused { call: libc::SYS_socket as u32 });
    // What reaches other processes is for the worker itself only.
    assert_eq!(fail(17, 5000), CallError::Refused { call: libc::SYS_tgkill as u32 });
    assert_eq!(fail(18, 5000), CallError::Refused { call: libc::SYS_prlimit64 as u32 });
    let connection = open(|configuration| configuration.groups = 3);
    assert_eq!(call(&connection, "subject_fail", &[19], &options(5000)), Ok(7));
}

#[test]
fn killed_between_calls_and_while_the_spare_starts() {
    let connection = open(|_| {});
    let mut retried = options(5000);
    retried.retries = 3;
    for round in 0..30 {
        assert_eq!(call(&connection, "subject_fail", &[0], &retried), Ok(7), "round {round}");
        for process in connection.worker_processes() {
            send(process, Signal::KILL);
        }
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The process that takes over if the babysitter is killed, once there is one.
fn understudy(connection: &Connection) -> u32 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let understudy = connection.understudy_process();
        if understudy != 0 {
            return understudy;
        }
        assert!(Instant::now() < deadline, "there is no understudy");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn death_of_the_babysitter_and_its_understudy_is_an_error() {
    let connection = open(|_| {});
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
    let processes = [understudy(&connection), connection.babysitter_process()];
    // Or it would make another in between.
    send(processes[1], Signal::STOP);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(format!("/proc/{}/stat", processes[1])).unwrap().contains(") T ") {
        assert!(Instant::now() < deadline, "it stops");
        std::thread::sleep(Duration::from_millis(1));
    }
    for process in processes {
        send(process, Signal::KILL);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while call(&connection, "subject_fail", &[0], &options(1000)).is_ok() {
        assert!(Instant::now() < deadline, "workers die with their babysitter");
    }
    assert!(call(&connection, "subject_fail", &[0], &options(1000)).is_err());
    gone(&processes);
}

/// The worker's slot has been emptied, and perhaps filled again, when its caller comes next.
#[test]
fn a_call_of_a_worker_that_was_replaced_between_calls_goes_to_the_next() {
    let connection = open(|_| {});
    for _ in 0..5 {
        assert_eq!(call(&connection, "subject_fail", &[0], &options(20_000)), Ok(7));
        let (babysitter, understudy) = (connection.babysitter_process(), understudy(&connection));
        let workers = connection.worker_processes();
        send(babysitter, Signal::KILL);
        gone(&[babysitter]);
        gone(&workers);
        let deadline = Instant::now() + Duration::from_secs(20);
        let is_replaced = || {
            let now = connection.worker_processes();
            let is_new = |process: &u32| *process != 0 && !workers.contains(process);
            connection.babysitter_process() == understudy && !now.is_empty() && now.iter().all(is_new)
        };
        while !is_replaced() {
            assert!(Instant::now() < deadline, "its understudy starts workers");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Killed before it says that it is there, so that only its process shows it.
#[test]
fn a_babysitter_that_is_killed_while_it_starts_is_followed_by_another() {
    let configuration = common::configuration();
    let worker = banyan_calls::launch::find_worker_program(None).unwrap();
    let mark = common::directory().join("killed-at-start");
    let text = |text: &str| std::ffi::CString::new(text).unwrap();
    // The first ones, which `KILLS` lists, kill themselves, each of which leaves a mark.
    let script = "for one in $KILLS; do mkdir $MARK.$one 2> /dev/null && kill -9 $$; done; exec \"$@\"";
    let launch = ["/bin/sh", "-c", script, "sh", worker.to_str().unwrap()].map(text);
    let open = |kills: &str| {
        for number in 1..9 {
            let _ = std::fs::remove_dir(format!("{}.{number}", mark.display()));
        }
        let environment = [
            format!("MARK={}", mark.display()),
            format!("KILLS={kills}"),
            "BANYAN_CALL_WORKER=library".into(),
        ];
        let environment = environment.each_ref().map(|one| text(one));
        Connection::open(&configuration, &launch, &environment)
    };
    for kills in ["", "1", "1 2 3"] {
        let connection = open(kills).unwrap();
        assert_eq!(call(&connection, "subject_fail", &[0], &options(20_000)), Ok(7), "{kills}");
    }
    let start = Instant::now();
    let error = open("1 2 3 4 5 6 7 8").unwrap_err();
    assert!(matches!(error, CallError::NoService(_)), "{error:?}");
    assert!(
        start.elapsed() < Duration::from_millis(configuration.start_deadline_ms),
        "no start was waited for"
    );
}

/// There is no moment after a service stands in which one kill ends it.
#[test]
fn a_babysitter_that_is_killed_as_soon_as_it_serves_is_followed() {
    for round in 0..30 {
        let connection = open(|_| {});
        let babysitter = connection.babysitter_process();
        send(babysitter, Signal::KILL);
        gone(&[babysitter]);
        assert_eq!(call(&connection, "subject_fail", &[0], &options(20_000)), Ok(7), "round {round}");
        assert_ne!(connection.babysitter_process(), babysitter);
    }
}

#[test]
fn a_killed_babysitter_is_followed_by_its_understudy() {
    let connection = open(|_| {});
    let mut handle = call(&connection, "subject_make", &[7], &options(5000)).unwrap();
    for _ in 0..10 {
        let (babysitter, understudy) = (connection.babysitter_process(), understudy(&connection));
        let (generation, workers) = (connection.generation(), connection.worker_processes());
        send(babysitter, Signal::KILL);
        gone(&[babysitter]);
        gone(&workers);
        // Handles of workers that ended with it are refused, and no other call fails.
        let stale = call(&connection, "subject_drop", &[handle], &options(20_000));
        assert!(matches!(stale, Err(CallError::StaleHandle { .. })), "{stale:?}");
        assert_eq!(call(&connection, "subject_fail", &[0], &options(20_000)), Ok(7));
        assert_eq!(connection.babysitter_process(), understudy);
        assert!(connection.generation() > generation);
        handle = call(&connection, "subject_make", &[7], &options(5000)).unwrap();
    }
    // One that is killed itself is followed by another.
    let understudies: Vec<u32> = (0..5)
        .map(|_| {
            let one = understudy(&connection);
            send(one, Signal::KILL);
            gone(&[one]);
            let deadline = Instant::now() + Duration::from_secs(20);
            while connection.understudy_process() == one {
                assert!(Instant::now() < deadline, "there is no other understudy");
                std::thread::sleep(Duration::from_millis(1));
            }
            one
        })
        .collect();
    let babysitter = connection.babysitter_process();
    let processes: Vec<u32> = connection.worker_processes().into_iter().chain(understudies).collect();
    let last = understudy(&connection);
    call(&connection, "subject_drop", &[handle], &options(5000)).unwrap();
    drop(connection);
    gone(&processes);
    gone(&[babysitter, last]);
}

#[test]
fn a_crash_in_a_call_back_is_the_callers_own_and_jumping_out_of_one_cuts_the_callee_back() {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    static CONNECTION: AtomicU64 = AtomicU64::new(0);
    extern "C" fn kills_the_worker(_: i64, _: f64, _: u64) -> i64 {
        // SAFETY: the test stores its own connection, which outlives the call.
        let connection = unsafe { &*(CONNECTION.load(SeqCst) as *const Connection) };
        send(connection.worker_process(), Signal::KILL);
        5
    }
    let connection = open(|_| {});
    CONNECTION.store((&raw const connection) as u64, SeqCst);
    let error =
        call(&connection, "subject_apply", &[kills_the_worker as *const () as u64, 1, 0], &options(2000))
            .unwrap_err();
    assert!(crashed(&error, libc::SIGKILL), "{error:?}");
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
    extern "C" fn crashes_inside(_: i64, _: f64, _: u64) -> i64 {
        // SAFETY: as above.
        let connection = unsafe { &*(CONNECTION.load(SeqCst) as *const Connection) };
        i64::from(call(connection, "subject_fail", &[1], &options(2000)).is_err())
    }
    let error =
        call(&connection, "subject_apply", &[crashes_inside as *const () as u64, 1, 0], &options(2000));
    assert!(error.is_err(), "the frame that waits for the call-back went with the worker");
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
}

#[test]
fn handles_of_an_ended_generation_are_refused() {
    let connection = open(|_| {});
    let handle = call(&connection, "subject_make", &[5], &options(5000)).unwrap();
    assert!(call(&connection, "subject_fail", &[1], &options(5000)).is_err());
    let error = call(&connection, "subject_drop", &[handle], &options(5000)).unwrap_err();
    assert!(matches!(error, CallError::StaleHandle { .. }), "{error:?}");
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7), "the worker is not hurt");
    // However many workers have come and gone since, and have had the same place.
    let mut retried = options(5000);
    retried.retries = 2;
    for round in 0..60 {
        assert!(call(&connection, "subject_fail", &[1], &options(5000)).is_err());
        assert_eq!(call(&connection, "subject_fail", &[0], &retried), Ok(7));
        let error = call(&connection, "subject_drop", &[handle], &options(5000)).unwrap_err();
        assert!(matches!(error, CallError::StaleHandle { .. }), "{round}: {error:?}");
    }
}

#[test]
fn the_crash_loop_breaker_opens_and_closes_again() {
    let connection = open(|configuration| configuration.crash_loop = 3);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match call(&connection, "subject_fail", &[1], &options(2000)) {
            Err(CallError::NoService(_)) => break,
            Err(_) => assert!(Instant::now() < deadline),
            Ok(_) => panic!("it cannot succeed"),
        }
    }
    let mut patient = options(10_000);
    patient.retries = 1;
    assert_eq!(
        call(&connection, "subject_fail", &[0], &patient),
        Ok(7),
        "who may retry waits for the pause's end"
    );
    assert_eq!(call(&connection, "subject_fail", &[0], &options(2000)), Ok(7), "and closes it for all");
}

#[test]
fn threads_call_concurrently() {
    let connection = open(|_| {});
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let connection = &connection;
            scope.spawn(move || {
                for number in 0..200 {
                    let values = [number as i32; 50];
                    let sum =
                        call(connection, "subject_sum", &[values.as_ptr() as u64, 50], &options(10_000))
                            .unwrap();
                    assert_eq!(sum, 50 * number, "thread {thread}");
                }
            });
        }
    });
    // Threads that ended leave their channels to others: more threads than channels, over time.
    for _ in 0..100 {
        let connection = &connection;
        std::thread::scope(|scope| {
            scope.spawn(move || assert_eq!(call(connection, "subject_fail", &[0], &options(5000)), Ok(7)));
        });
    }
}

#[test]
fn a_thread_that_ends_takes_its_worker_with_it() {
    let connection = open(|_| {});
    for _ in 0..3 {
        assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
        let worker = connection.worker_process();
        let error = call(&connection, "subject_fail", &[20], &options(5000)).unwrap_err();
        assert!(crashed(&error, libc::SIGKILL), "{error:?}");
        gone(&[worker]);
    }
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
}

#[test]
fn a_fresh_worker_serves_whichever_thread_waits_for_it() {
    for round in 0..5 {
        let connection = open(|configuration| configuration.spares = 0);
        assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
        assert!(call(&connection, "subject_fail", &[1], &options(5000)).is_err());
        // Its first call of all, on a channel that no worker has known.
        std::thread::scope(|scope| {
            let other = scope.spawn(|| call(&connection, "subject_fail", &[0], &options(5000)));
            assert_eq!(other.join().unwrap(), Ok(7), "round {round}");
        });
        assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7), "round {round}");
    }
}

/// A worker that a caller waits for is started by a babysitter beside that caller; its threads use what the
/// program may.
#[test]
fn a_fresh_worker_stays_on_the_processors_of_its_program() {
    let confined = || {
        // SAFETY: a set of processors is plain bits, and the kernel reads it; this thread alone is confined.
        unsafe {
            let mut first: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(libc::sched_getcpu() as usize, &mut first);
            assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const first), 0);
        }
        let allowed = |status: &str| {
            let text = std::fs::read_to_string(status).unwrap();
            text.lines().find_map(|line| line.strip_prefix("Cpus_allowed:").map(str::to_owned)).unwrap()
        };
        let own = allowed("/proc/thread-self/status");
        let connection = open(|configuration| configuration.spares = 0);
        assert!(call(&connection, "subject_fail", &[1], &options(5000)).is_err());
        assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
        let [worker] = connection.worker_processes()[..] else { panic!("one worker serves") };
        let all_stay = |when: &str| {
            for thread in std::fs::read_dir(format!("/proc/{worker}/task")).unwrap() {
                let status = thread.unwrap().path().join("status");
                assert_eq!(allowed(status.to_str().unwrap()), own, "{when}: {status:?}");
            }
        };
        all_stay("started");
        // Woken here, and then free to spin elsewhere if the program may.
        for wait in [Wait::Block, Wait::Spin, Wait::Block] {
            let mut options = options(5000);
            options.wait = wait;
            (0..3).for_each(|_| assert_eq!(call(&connection, "subject_fail", &[0], &options), Ok(7)));
            all_stay("after calls");
        }
    };
    std::thread::scope(|scope| scope.spawn(confined).join().unwrap());
}

#[test]
fn a_crash_under_many_threads_reaches_all_and_each_goes_on() {
    let connection = open(|_| {});
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let connection = &connection;
            scope.spawn(move || {
                let mut retried = options(20_000);
                retried.retries = 50;
                for number in 0..40 {
                    if thread == 0 && number % 8 == 3 {
                        assert!(call(connection, "subject_fail", &[1], &options(5000)).is_err());
                    } else {
                        assert_eq!(call(connection, "subject_fail", &[0], &retried), Ok(7));
                    }
                }
            });
        }
    });
}

#[test]
fn a_fork_of_the_caller_has_no_connection() {
    let connection = open(|_| {});
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7));
    // SAFETY: the child calls, which allocates only its error text, and exits.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let refused = matches!(
                call(&connection, "subject_fail", &[0], &options(1000)),
                Err(CallError::NoService(_))
            );
            libc::_exit(i32::from(!refused));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!(status, 0);
    }
    assert_eq!(call(&connection, "subject_fail", &[0], &options(5000)), Ok(7), "the parent goes on");
}

#[test]
fn every_way_of_waiting() {
    let connection = open(|_| {});
    for wait in [Wait::Adaptive, Wait::Spin, Wait::Block] {
        let mut options = options(5000);
        options.wait = wait;
        for _ in 0..500 {
            assert_eq!(call(&connection, "subject_fail", &[0], &options), Ok(7));
        }
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(call(&connection, "subject_fail", &[0], &options), Ok(7), "after a pause");
    }
}

/// 40,000 calls, or as many as `BANYAN_CALLS_COUNT` says.
#[test]
fn snprintf_that_crashes_one_time_in_forty_and_scribbles_first() {
    let count =
        std::env::var("BANYAN_CALLS_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(40_000_u64);
    let connection = open(|_| {});
    let mut retried = options(10_000);
    retried.retries = 5;
    let start = Instant::now();
    let mut text = [0_u8; 64];
    for number in 0..count {
        let arguments = [text.as_mut_ptr() as u64, 64, c"The answer is %d".as_ptr() as u64, number];
        let length = call(&connection, "subject_flaky", &arguments, &retried).unwrap();
        let expected = format!("The answer is {number}\0");
        // SAFETY: the callee changed it behind the compiler's back.
        let text = unsafe { (&raw const text).read_volatile() };
        assert_eq!(length as usize + 1, expected.len());
        assert_eq!(&text[..expected.len()], expected.as_bytes(), "call {number}");
    }
    let ended = connection.statistics().ended.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("{count} calls, {ended} crashes absorbed, {:?}", start.elapsed());
    assert!(ended >= count / 40 - 1 && ended <= count / 30, "{ended} crashes");
}

/// As `struct holder` of the library.
#[repr(C)]
#[derive(Default)]
struct Holder {
    calls: i64,
    state: u64,
}

#[test]
fn a_handle_in_a_structure_ends_one_worker_and_is_refused_from_then_on() {
    let connection = open(|_| {});
    let long = options(20_000);
    let mut holders = [Holder::default(), Holder::default()];
    let places = [0, 1].map(|index| (&raw mut holders[index]) as u64);
    let ended = || connection.statistics().ended.load(std::sync::atomic::Ordering::Relaxed);
    for round in 1..4 {
        for place in places {
            assert_eq!(call(&connection, "subject_hold", &[place, round], &long), Ok(0));
            assert_eq!(call(&connection, "subject_held", &[place], &long), Ok(round));
        }
        call(&connection, "subject_fail", &[1], &long).unwrap_err();
        let before = ended();
        let error = call(&connection, "subject_held", &[places[0]], &long).unwrap_err();
        assert_crashed(round, &error, libc::SIGSEGV);
        for _ in 0..20 {
            let error = call(&connection, "subject_held", &[places[0]], &long).unwrap_err();
            assert!(matches!(error, CallError::StaleHandle { .. }), "{error:?}");
        }
        assert_eq!(ended(), before + 1, "only the first call reached the library");
        // Another one at its own place, and this one, once it is made anew, are no stale handles.
        assert_eq!(call(&connection, "subject_hold", &[places[1], 7], &long), Ok(0));
        assert_eq!(call(&connection, "subject_held", &[places[1]], &long), Ok(7));
        assert_eq!(call(&connection, "subject_hold", &[places[0], 8], &long), Ok(0));
        assert_eq!(call(&connection, "subject_held", &[places[0]], &long), Ok(8));
        assert_eq!(ended(), before + 1);
    }
}
