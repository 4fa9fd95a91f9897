//! A pool of threads for work that may block: what it returns comes back as an event.
//!
//! Threads are started when work waits and none is free, up to [`THREADS_MAX`], and end after [`IDLE`]
//! without work or with the system. One sponsor's work has at most half of them: work that blocks for ever
//! takes nothing from the others. In deterministic mode there are none: the simulation does the work when its
//! seed says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use banyan_core::sponsors::SponsorId;
use parking_lot::{Condvar, Mutex};

use crate::containment::contain;

/// The most threads of a pool.
const THREADS_MAX: usize = 256;
/// The most that one sponsor's work has at a time.
const OF_ONE_MAX: usize = THREADS_MAX / 2;
/// How long a thread waits for work.
const IDLE: Duration = Duration::from_secs(10);

/// Work, with what is done with its result.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(SponsorId, Job)>,
    /// Jobs under way.
    running: BTreeMap<SponsorId, usize>,
    threads: usize,
    free: usize,
    closed: bool,
}

impl Jobs {
    /// The oldest job whose sponsor has not too many under way.
    fn next(&mut self) -> Option<(SponsorId, Job)> {
        let running = &self.running;
        let may =
            |(sponsor, _): &(SponsorId, Job)| running.get(sponsor).is_none_or(|count| *count < OF_ONE_MAX);
        let place = self.waiting.iter().position(may)?;
        let (sponsor, job) = self.waiting.remove(place)?;
        *self.running.entry(sponsor).or_default() += 1;
        Some((sponsor, job))
    }

    fn done(&mut self, sponsor: SponsorId) {
        if let Some(count) = self.running.get_mut(&sponsor) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&sponsor);
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Pool {
    jobs: Mutex<Jobs>,
    arrived: Condvar,
}

impl Pool {
    pub(crate) fn submit(self: &Arc<Self>, job: Job, sponsor: SponsorId, threads: bool) {
        let mut jobs = self.jobs.lock();
        jobs.waiting.push_back((sponsor, job));
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
        self.jobs.lock().waiting.pop_front().map(|(_, job)| job)
    }

    pub(crate) fn close(&self) {
        self.jobs.lock().closed = true;
        self.arrived.notify_all();
    }

    /// The next job; none if the thread is to end.
    fn wait(&self, done: Option<SponsorId>) -> Option<(SponsorId, Job)> {
        let mut jobs = self.jobs.lock();
        if let Some(sponsor) = done {
            jobs.done(sponsor);
        }
        jobs.free += 1;
        let next = loop {
            if jobs.closed {
                break None;
            }
            if let Some(next) = jobs.next() {
                break Some(next);
            }
            if self.arrived.wait_for(&mut jobs, IDLE).timed_out() && jobs.waiting.is_empty() {
                break None;
            }
        };
        jobs.free -= 1;
        jobs.threads -= usize::from(next.is_none());
        next
    }
}

fn serve(pool: &Pool) {
    let mut done = None;
    while let Some((sponsor, job)) = pool.wait(done) {
        // What it says of a panic is said where it was made.
        let _ = contain(job);
        done = Some(sponsor);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use banyan_core::sponsors::SponsorId;

    use super::{OF_ONE_MAX, Pool};

    /// However many jobs of one sponsor block, another one's are done; and its own when some do not block any
    /// more.
    #[test]
    fn blocked_work_takes_nothing_from_other_sponsors() {
        let pool = Arc::new(Pool::default());
        let (greedy, other) = (SponsorId { index: 1, generation: 0 }, SponsorId { index: 2, generation: 0 });
        let (done, finished) = channel();
        let mut doors = Vec::new();
        for number in 0..2 * OF_ONE_MAX {
            let (door, opened) = channel::<()>();
            doors.push(door);
            let done = done.clone();
            let job = move || {
                // The door opens by being dropped.
                let _ = opened.recv();
                let _ = done.send(number);
            };
            pool.submit(Box::new(job), greedy, true);
        }
        let (answer, answered) = channel();
        pool.submit(Box::new(move || answer.send(7).unwrap()), other, true);
        assert_eq!(answered.recv_timeout(Duration::from_secs(60)), Ok(7));
        assert!(pool.jobs.lock().running.get(&greedy).is_none_or(|count| *count <= OF_ONE_MAX));
        assert!(finished.try_recv().is_err());
        doors.clear();
        let all = (0..2 * OF_ONE_MAX).map(|_| finished.recv_timeout(Duration::from_secs(60)).unwrap());
        assert_eq!(all.count(), 2 * OF_ONE_MAX);
        pool.close();
    }
}
