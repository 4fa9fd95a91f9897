//! A pool of threads for work that may block: what it returns comes back as an event.
//!
//! Threads are started when work waits that may begin and no thread is free, and end after [`IDLE`] without
//! work or with the system. Work is told apart by its **payer**: the sponsor directly below the root that it
//! comes from, with everything below that. A payer's work begins while it has fewer threads than are left of
//! [`THREADS_MAX`], so that one gets half of them, a second half of the rest; and one job of each payer
//! begins whatever the others do. Work that blocks for ever delays that of its own payer alone, or leaves the
//! others one thread each. In deterministic mode there are no threads: the simulation does the work when its
//! seed says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use banyan_core::sponsors::SponsorId;
use parking_lot::{Condvar, Mutex};

use crate::containment::contain;

/// The most threads of a pool, beside the one that each payer may have.
const THREADS_MAX: usize = 256;
/// How long a thread waits for work.
const IDLE: Duration = Duration::from_secs(10);

/// Whether there are threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// They are started as needed.
    Started,
    /// The work is taken by [`Pool::take`].
    None,
}

/// Work, with what is done with its result.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// What a payer has here: it is forgotten when it has nothing.
#[derive(Default)]
struct Payer {
    waiting: VecDeque<Job>,
    /// Jobs under way.
    running: usize,
}

#[derive(Default)]
struct Jobs {
    payers: BTreeMap<SponsorId, Payer>,
    /// Payers with work that waits, the one whose turn is next first.
    turns: VecDeque<SponsorId>,
    /// Jobs under way.
    running: usize,
    threads: usize,
    closed: bool,
}

impl Jobs {
    fn add(&mut self, job: Job, payer: SponsorId) {
        let waiting = &mut self.payers.entry(payer).or_default().waiting;
        waiting.push_back(job);
        if waiting.len() == 1 {
            self.turns.push_back(payer);
        }
    }

    /// Whether one more job of a payer may begin.
    fn may(&self, payer: SponsorId) -> bool {
        let running = self.payers.get(&payer).map_or(0, |payer| payer.running);
        running == 0 || running < THREADS_MAX.saturating_sub(self.running)
    }

    /// The oldest job of the payer whose turn it is, of those that may begin one.
    fn next(&mut self) -> Option<(SponsorId, Job)> {
        let place = (0..self.turns.len()).find(|place| self.may(self.turns[*place]))?;
        let id = self.turns.remove(place)?;
        let payer = self.payers.get_mut(&id)?;
        let job = payer.waiting.pop_front()?;
        if !payer.waiting.is_empty() {
            self.turns.push_back(id);
        }
        payer.running += 1;
        self.running += 1;
        Some((id, job))
    }

    fn done(&mut self, id: SponsorId) {
        let Some(payer) = self.payers.get_mut(&id) else { return };
        payer.running -= 1;
        self.running -= 1;
        if payer.running == 0 && payer.waiting.is_empty() {
            self.payers.remove(&id);
        }
    }
}

#[derive(Default)]
pub(crate) struct Pool {
    jobs: Mutex<Jobs>,
    arrived: Condvar,
}

impl Pool {
    pub(crate) fn submit(self: &Arc<Self>, job: Job, payer: SponsorId, threads: Threads) {
        let mut jobs = self.jobs.lock();
        jobs.add(job, payer);
        if threads == Threads::None {
            return;
        }
        self.begin(&mut jobs);
    }

    /// Sees to it that a thread begins what may begin: one that is free, or a new one. That thread sees to
    /// the next.
    fn begin(self: &Arc<Self>, jobs: &mut Jobs) {
        if !jobs.turns.iter().any(|payer| jobs.may(*payer)) {
            // A thread that ends a job looks for what may begin then.
            return;
        }
        // Free, or about to begin.
        if jobs.threads > jobs.running {
            self.arrived.notify_one();
            return;
        }
        let pool = self.clone();
        let thread = std::thread::Builder::new().name("banyan-blocking".to_owned());
        // Without a thread the work waits for one that becomes free.
        jobs.threads += usize::from(thread.spawn(move || serve(&pool)).is_ok());
    }

    /// The next job, without waiting.
    pub(crate) fn take(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        let (payer, job) = jobs.next()?;
        jobs.done(payer);
        Some(job)
    }

    pub(crate) fn close(&self) {
        self.jobs.lock().closed = true;
        self.arrived.notify_all();
    }

    /// The next job; none if the thread is to end.
    fn wait(self: &Arc<Self>, done: Option<SponsorId>) -> Option<(SponsorId, Job)> {
        let mut jobs = self.jobs.lock();
        if let Some(payer) = done {
            jobs.done(payer);
        }
        let next = loop {
            if jobs.closed {
                break None;
            }
            if let Some(next) = jobs.next() {
                break Some(next);
            }
            if self.arrived.wait_for(&mut jobs, IDLE).timed_out() && jobs.turns.is_empty() {
                break None;
            }
        };
        if next.is_some() {
            self.begin(&mut jobs);
        } else {
            jobs.threads -= 1;
        }
        next
    }
}

fn serve(pool: &Arc<Pool>) {
    let mut done = None;
    while let Some((payer, job)) = pool.wait(done) {
        // What it says of a panic is said where it was made.
        let _ = contain(job);
        done = Some(payer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    use banyan_core::sponsors::SponsorId;

    use super::{Pool, THREADS_MAX, Threads};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn payer(index: u32) -> SponsorId {
        SponsorId { index, generation: 0 }
    }

    /// A job that blocks until the door is dropped.
    fn blocked(pool: &Arc<Pool>, of: SponsorId, begun: &Sender<u32>) -> Sender<()> {
        let (door, opened) = channel::<()>();
        let begun = begun.clone();
        let job = move || {
            let _ = begun.send(of.index);
            let _ = opened.recv();
        };
        pool.submit(Box::new(job), of, Threads::Started);
        door
    }

    fn may_begin(pool: &Pool) -> bool {
        let jobs = pool.jobs.lock();
        jobs.turns.iter().any(|payer| jobs.may(*payer))
    }

    fn does(pool: &Arc<Pool>, of: SponsorId) -> Receiver<u32> {
        let (answer, answered) = channel();
        pool.submit(Box::new(move || answer.send(7).unwrap()), of, Threads::Started);
        answered
    }

    /// However many payers fill the pool with work that blocks for ever, work of another is done.
    #[test]
    fn blocked_work_takes_nothing_from_other_payers() {
        let pool = Arc::new(Pool::default());
        let (begun, begins) = channel();
        let mut doors = Vec::new();
        let (greedy, mut seen) = (12, 0);
        for index in 1..=greedy {
            for _ in 0..THREADS_MAX {
                doors.push(blocked(&pool, payer(index), &begun));
            }
            let deadline = Instant::now() + PATIENCE;
            while may_begin(&pool) {
                assert!(Instant::now() < deadline, "what may begin does not");
                std::thread::yield_now();
            }
            // What counts as running says so when its thread has come to it.
            let running = pool.jobs.lock().running;
            let begun: Vec<_> = (seen..running).map(|_| begins.recv_timeout(PATIENCE).unwrap()).collect();
            assert!(!begun.is_empty() && begun.iter().all(|of| *of == index), "{index}: {begun:?}");
            seen = running;
        }
        assert_eq!(does(&pool, payer(99)).recv_timeout(PATIENCE), Ok(7));
        let first = pool.jobs.lock().payers[&payer(1)].running;
        assert_eq!(first, THREADS_MAX / 2);
        assert!(pool.jobs.lock().threads <= THREADS_MAX + greedy as usize + 1);
        pool.close();
    }

    /// Work that waits for its payer's threads is done when some do not block any more, in its order.
    #[test]
    fn work_that_waited_is_done() {
        let pool = Arc::new(Pool::default());
        let (begun, begins) = channel();
        let doors: Vec<_> = (0..THREADS_MAX).map(|_| blocked(&pool, payer(1), &begun)).collect();
        let answered = does(&pool, payer(1));
        drop(doors);
        assert_eq!(answered.recv_timeout(PATIENCE), Ok(7));
        // A thread has taken its job before that one, and need not have come to say so.
        for _ in 0..THREADS_MAX {
            assert_eq!(begins.recv_timeout(PATIENCE), Ok(1));
        }
        pool.close();
    }
}
