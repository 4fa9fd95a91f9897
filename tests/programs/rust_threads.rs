//! A Rust program on `std::thread` alone: Mutex, RwLock, Condvar, mpsc, Barrier, Once, scoped threads,
//! thread-locals, park, panics that stay in their thread. It prints the same lines on every run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 6;

fn count_words_under_a_mutex() {
    let counts = Arc::new(Mutex::new(BTreeMap::new()));
    let handles: Vec<_> = (0..THREADS)
        .map(|thread| {
            let counts = Arc::clone(&counts);
            thread::spawn(move || {
                for number in 0..150 {
                    let word = format!("word{}", (number * 7 + thread) % 10);
                    *counts.lock().expect("the mutex").entry(word).or_insert(0usize) += 1;
                }
            })
        })
        .collect();
    for handle in handles {
        handle.join().expect("a thread");
    }
    let counts = counts.lock().expect("the mutex");
    assert_eq!(counts.values().sum::<usize>(), THREADS * 150);
    println!("mutex: {counts:?}");
}

fn read_whole_updates() {
    let pair = RwLock::new((0u64, vec![0u64; 2000]));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let pair = &pair;
            scope.spawn(move || {
                for round in 0..60 {
                    if (round + thread) % 5 == 0 {
                        let mut pair = pair.write().expect("the lock");
                        pair.0 += 1;
                        let value = pair.0;
                        pair.1.fill(value);
                    } else {
                        let pair = pair.read().expect("the lock");
                        assert!(pair.1.iter().all(|value| *value == pair.0), "a torn update");
                    }
                }
            });
        }
    });
    println!("rwlock: {} updates", pair.read().expect("the lock").0);
}

fn take_turns() {
    let turn = (Mutex::new(0usize), Condvar::new());
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (turn, order) = (&turn, &order);
            scope.spawn(move || {
                for _ in 0..5 {
                    let mut now = turn.1.wait_while(turn.0.lock().expect("turn"), |now| *now % THREADS != thread).expect("turn");
                    order.lock().expect("order").push(thread);
                    *now += 1;
                    turn.1.notify_all();
                }
            });
        }
    });
    let order = order.into_inner().expect("order");
    assert!(order.iter().enumerate().all(|(place, thread)| place % THREADS == *thread));
    let (_turn, timeout) = turn.1.wait_timeout(turn.0.lock().expect("turn"), Duration::from_millis(20)).expect("turn");
    assert!(timeout.timed_out());
    println!("condvar: {} turns", order.len());
}

fn send_through_channels() {
    let (sender, receiver) = mpsc::channel::<(usize, Vec<u8>)>();
    let (narrow_sender, narrow_receiver) = mpsc::sync_channel::<u64>(2);
    let adder = thread::spawn(move || narrow_receiver.iter().sum::<u64>());
    for thread in 0..THREADS {
        let (sender, narrow_sender) = (sender.clone(), narrow_sender.clone());
        thread::spawn(move || {
            for number in 0..40 {
                sender.send((thread, vec![number as u8; 100 * number])).expect("a receiver");
                narrow_sender.send(number as u64).expect("a receiver");
            }
        });
    }
    drop((sender, narrow_sender));
    let mut next = [0usize; THREADS];
    let mut bytes = 0;
    for (thread, message) in receiver {
        assert_eq!(message.len(), 100 * next[thread], "messages of one sender come in order");
        assert!(message.iter().all(|byte| *byte as usize == next[thread]));
        next[thread] += 1;
        bytes += message.len();
    }
    println!("mpsc: {bytes} bytes, sum {}", adder.join().expect("the adder"));
}

fn meet_at_barriers() {
    let barrier = Barrier::new(THREADS);
    let leaders = AtomicUsize::new(0);
    let slots: Vec<AtomicUsize> = (0..THREADS).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, leaders, slots) = (&barrier, &leaders, &slots);
            scope.spawn(move || {
                for phase in 1..=20 {
                    slots[thread].store(phase, Ordering::Relaxed);
                    if barrier.wait().is_leader() {
                        leaders.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(slots.iter().all(|slot| slot.load(Ordering::Relaxed) == phase));
                    barrier.wait();
                }
            });
        }
    });
    println!("barrier: {} leaders", leaders.load(Ordering::Relaxed));
}

fn divide_among_scoped_threads() {
    let mut numbers: Vec<u32> = (0..200_000u32).map(|number| number.wrapping_mul(2_654_435_761)).collect();
    let part = numbers.len().div_ceil(THREADS);
    thread::scope(|scope| {
        for part in numbers.chunks_mut(part) {
            scope.spawn(|| part.sort_unstable());
        }
    });
    assert!(numbers.chunks(part).all(<[u32]>::is_sorted));
    let total: u64 = thread::scope(|scope| {
        let sums: Vec<_> =
            numbers.chunks(part).map(|part| scope.spawn(|| part.iter().map(|number| u64::from(*number)).sum::<u64>())).collect();
        sums.into_iter().map(|sum| sum.join().expect("a sum")).sum()
    });
    println!("scope: total {total}");
}

thread_local! {
    static NAMES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn keep_thread_locals_and_panics_apart() {
    static ONCE: OnceLock<usize> = OnceLock::new();
    // A panic's message would go to stderr with a thread number in it.
    std::panic::set_hook(Box::new(|_| {}));
    let results: Vec<_> = (0..THREADS)
        .map(|thread| {
            thread::Builder::new().name(format!("worker {thread}")).stack_size(256 << 10).spawn(move || {
                NAMES.with_borrow_mut(|names| names.push(thread::current().name().unwrap_or("none").to_owned()));
                assert_eq!(*ONCE.get_or_init(|| 12), 12);
                assert!(thread != 3, "thread 3 panics");
                NAMES.with_borrow(|names| names.join(","))
            })
        })
        .map(|handle| handle.expect("a thread").join().unwrap_or_else(|_| "panicked".to_owned()))
        .collect();
    println!("thread-locals: {results:?}");
    NAMES.with_borrow(|names| assert!(names.is_empty()));
}

fn park_and_sleep() {
    let parked = thread::spawn(|| {
        let start = Instant::now();
        thread::park_timeout(Duration::from_secs(20));
        start.elapsed() < Duration::from_secs(20)
    });
    thread::sleep(Duration::from_millis(10));
    parked.thread().unpark();
    println!("park: woken {}", parked.join().expect("the parked thread"));
}

fn main() {
    count_words_under_a_mutex();
    read_whole_updates();
    take_turns();
    send_through_channels();
    meet_at_barriers();
    divide_among_scoped_threads();
    keep_thread_locals_and_panics_apart();
    park_and_sleep();
    println!("ok");
}
