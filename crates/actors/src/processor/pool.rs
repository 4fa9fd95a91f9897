//! A pool of threads for work that may block: what it returns comes back as an event.
//!
//! Threads are started when work waits and none is free, up to [`THREADS_MAX`], and end when the system does. In
//! deterministic mode there are none: the simulation does the work when its seed says so.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError, Weak};

use banyan_core::sponsors::SponsorId;

use crate::model::address::Address;
use crate::model::message::Message;
use crate::system::System;

/// The most threads of a pool.
const THREADS_MAX: usize = 32;

pub(crate) struct Job {
    pub(crate) work: Box<dyn FnOnce() -> Message + Send>,
    pub(crate) reply_to: Address,
    pub(crate) sponsor: SponsorId,
}

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
    pub(crate) fn submit(&self, job: Job, system: &Weak<System>, threads: bool) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.waiting.push_back(job);
        if threads && jobs.free < jobs.waiting.len() && jobs.threads < THREADS_MAX {
            let system = system.clone();
            let thread = std::thread::Builder::new().name("banyan-blocking".to_owned());
            // Without a thread the work waits for one that becomes free.
            jobs.threads += usize::from(thread.spawn(move || serve(&system)).is_ok());
        }
        self.arrived.notify_one();
    }

    /// The oldest job, without waiting.
    pub(crate) fn take(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    pub(crate) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.arrived.notify_all();
    }

    fn wait(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
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
            jobs = self.arrived.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn serve(system: &Weak<System>) {
    while let Some(system) = system.upgrade() {
        let Some(job) = system.pool.wait() else { return };
        run(job, &system);
    }
}

/// Does one job. If it panics, no answer comes.
pub(crate) fn run(job: Job, system: &System) {
    let Job { work, reply_to, sponsor } = job;
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(message) => system.route(&reply_to, sponsor, message),
        Err(_) => system.log("blocking work panicked; nobody is answered".to_owned()),
    }
}
