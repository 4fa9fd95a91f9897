//! A pool of threads for work that may block: what it returns comes back as an event.
//!
//! Threads are started when work waits and none is free, up to [`THREADS_MAX`], and end when the system does.
//! In deterministic mode there are none: the simulation does the work when its seed says so.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::containment::contain;

/// The most threads of a pool.
const THREADS_MAX: usize = 32;

/// Work, with what is done with its result.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    threads: usize,
    free: usize,
    closed: bool,
}

#[derive(Default)]
pub(crate) struct Pool {
    jobs: Mutex<Jobs>,
    arrived: Condvar,
}

impl Pool {
    pub(crate) fn submit(self: &Arc<Self>, job: Job, threads: bool) {
        let mut jobs = self.jobs.lock();
        jobs.waiting.push_back(job);
        if threads && jobs.free < jobs.waiting.len() && jobs.threads < THREADS_MAX {
            let pool = self.clone();
            let thread = std::thread::Builder::new().name("banyan-blocking".to_owned());
            // Without a thread the work waits for one that becomes free.
            jobs.threads += usize::from(thread.spawn(move || serve(&pool)).is_ok());
        }
        self.arrived.notify_one();
    }

    /// The oldest job, without waiting.
    pub(crate) fn take(&self) -> Option<Job> {
        self.jobs.lock().waiting.pop_front()
    }

    pub(crate) fn close(&self) {
        self.jobs.lock().closed = true;
        self.arrived.notify_all();
    }

    fn wait(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        jobs.free += 1;
        loop {
            if jobs.closed {
                jobs.threads -= 1;
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                jobs.free -= 1;
                return Some(job);
            }
            self.arrived.wait(&mut jobs);
        }
    }
}

fn serve(pool: &Pool) {
    while let Some(job) = pool.wait() {
        // What it says of a panic is said where it was made.
        let _ = contain(job);
    }
}
