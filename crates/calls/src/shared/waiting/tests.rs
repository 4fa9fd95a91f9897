//! The protocol in every interleaving, with a kernel that marks the words of a dead thread.
//! Time never ends a wait here: a wake-up that is lost shows as a deadlock.

use super::*;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::sync::{Arc, Condvar, Mutex};

/// A futex: the kernel's queue is a mutex and a condition.
struct ModelWord {
    value: AtomicU32,
    queue: Mutex<()>,
    changed: Condvar,
}

impl ModelWord {
    fn new(value: u32) -> Self {
        Self { value: AtomicU32::new(value), queue: Mutex::new(()), changed: Condvar::new() }
    }
}

impl Word for ModelWord {
    fn load(&self) -> u32 {
        self.value.load(Acquire)
    }

    fn swap(&self, value: u32) -> u32 {
        self.value.swap(value, AcqRel)
    }

    fn replace(&self, from: u32, to: u32) -> Result<u32, u32> {
        self.value.compare_exchange(from, to, AcqRel, Acquire)
    }

    fn sleep(&self, expected: u32, _: u64) {
        let queue = self.queue.lock().unwrap();
        if self.value.load(Acquire) == expected {
            drop(self.changed.wait(queue).unwrap());
        }
    }

    fn wake(&self) {
        drop(self.queue.lock().unwrap());
        self.changed.notify_one();
    }

    fn barrier() {
        loom::sync::atomic::fence(SeqCst);
    }
}

struct Model {
    request: ModelWord,
    reply: ModelWord,
    alive: ModelWord,
    asked: AtomicU64,
    answered: AtomicU64,
}

const THREAD: u32 = 7;

impl Model {
    fn new() -> Self {
        Self {
            request: ModelWord::new(0),
            reply: ModelWord::new(0),
            alive: ModelWord::new(THREAD),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    fn words(&self) -> Words<'_, ModelWord> {
        Words { request: &self.request, reply: &self.reply, alive: &self.alive }
    }

    /// What the kernel does for a thread that ends: `alive`, then `reply`, each marked if it
    /// holds the thread's id, and one sleeper woken.
    fn die(&self) {
        for word in [&self.alive, &self.reply] {
            let mut value = word.load();
            while value & THREAD_MASK == THREAD && value & OWNER_DIED == 0 {
                match word.replace(value, value & WAITERS | OWNER_DIED) {
                    Ok(_) => {
                        if value & WAITERS != 0 {
                            word.wake();
                        }
                        break;
                    }
                    Err(other) => value = other,
                }
            }
            ModelWord::barrier();
        }
    }

    fn call(&self, sequence: u32) -> Result<(), Ended> {
        self.asked.store(u64::from(sequence) * 10, Relaxed);
        if self.words().post_request(sequence) {
            self.request.wake();
        }
        self.words().sleep_for_reply(sequence, |_| Ok(1))?;
        assert_eq!(self.answered.load(Relaxed), u64::from(sequence) * 10 + 1, "the answer to this request");
        Ok(())
    }

    fn serve(&self, last: u32) -> u32 {
        let sequence = self.words().sleep_for_request(last, 1);
        let asked = self.asked.load(Relaxed);
        assert_eq!(asked, u64::from(sequence) * 10, "the request belongs to its number");
        self.answered.store(asked + 1, Relaxed);
        self.words().post_reply(sequence);
        sequence
    }
}

/// `calls` calls to a worker that ends after `served` of them. Every order with at most three
/// switches that nothing forces; all orders take minutes: `LOOM_MAX_PREEMPTIONS` says another limit.
fn explore(calls: u32, served: u32) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let model = Arc::new(Model::new());
        let worker = {
            let model = Arc::clone(&model);
            loom::thread::spawn(move || {
                let mut last = 0;
                for _ in 0..served {
                    last = model.serve(last);
                }
                model.die();
            })
        };
        for sequence in 1..=calls {
            let result = model.call(sequence);
            assert_eq!(result, if sequence <= served { Ok(()) } else { Err(Ended::Died) });
            if result.is_err() {
                break;
            }
        }
        worker.join().unwrap();
    });
}

#[test]
fn every_call_is_answered() {
    explore(2, 2);
}

#[test]
fn a_worker_that_dies_instead_of_answering_ends_the_call() {
    explore(1, 0);
}

#[test]
fn a_worker_that_dies_after_an_answer_ends_the_next_call_only() {
    explore(2, 1);
}
