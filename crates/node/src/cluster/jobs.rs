//! The jobs of a node, by id.
//!
//! Lock order: `jobs` is taken alone.

use banyan_wire::ids::JobId;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A table of what runs here; `J` is a job.
#[derive(Debug)]
pub(crate) struct Jobs<J> {
    jobs: Mutex<HashMap<JobId, Arc<J>>>,
    changed: Condvar,
}

impl<J> Default for Jobs<J> {
    fn default() -> Self {
        Self { jobs: Mutex::default(), changed: Condvar::new() }
    }
}

impl<J> Jobs<J> {
    /// Enters a job. False if there is one with this id.
    #[must_use]
    pub(crate) fn insert(&self, id: JobId, job: Arc<J>) -> bool {
        let mut jobs = self.jobs.lock();
        let fresh = !jobs.contains_key(&id);
        if fresh {
            jobs.insert(id, job);
            self.changed.notify_all();
        }
        fresh
    }

    /// Takes a job out that has ended.
    pub(crate) fn remove(&self, id: JobId) {
        self.jobs.lock().remove(&id);
        self.changed.notify_all();
    }

    /// The job with this id. Another node may know of it earlier than this one, so it may take until
    /// `deadline`.
    pub(crate) fn find(&self, id: JobId, deadline: Duration) -> Option<Arc<J>> {
        let until = Instant::now() + deadline;
        let mut jobs = self.jobs.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match jobs.get(&id) {
                Some(job) => return Some(Arc::clone(job)),
                None if left.is_zero() => return None,
                None => {}
            }
            self.changed.wait_for(&mut jobs, left);
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<J>> {
        self.jobs.lock().values().cloned().collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.jobs.lock().len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Waits until there is none. Jobs end by themselves, and each bounds its own end.
    pub(crate) fn wait_until_empty(&self) {
        let mut jobs = self.jobs.lock();
        self.changed.wait_while(&mut jobs, |jobs| !jobs.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(30);

    #[test]
    fn two_jobs_stand_beside_each_other_and_an_id_is_used_once() {
        let jobs = Jobs::default();
        assert!(jobs.insert(JobId(1), Arc::new("one")));
        assert!(jobs.insert(JobId(2), Arc::new("two")));
        assert!(!jobs.insert(JobId(1), Arc::new("other")));
        assert_eq!(jobs.find(JobId(1), SOON).as_deref(), Some(&"one"));
        jobs.remove(JobId(1));
        assert_eq!(jobs.find(JobId(1), SOON), None);
        assert_eq!(jobs.find(JobId(2), SOON).as_deref(), Some(&"two"));
    }

    #[test]
    fn a_job_that_comes_late_is_found() {
        let jobs = Arc::new(Jobs::default());
        let finder = std::thread::spawn({
            let jobs = Arc::clone(&jobs);
            move || jobs.find(JobId(7), LATE)
        });
        assert!(jobs.insert(JobId(7), Arc::new(())));
        assert!(finder.join().unwrap().is_some());
    }

    #[test]
    fn the_end_of_the_last_job_is_noticed() {
        let jobs = Arc::new(Jobs::default());
        assert!(jobs.insert(JobId(1), Arc::new(())) && jobs.insert(JobId(2), Arc::new(())));
        let waiter = std::thread::spawn({
            let jobs = Arc::clone(&jobs);
            move || jobs.wait_until_empty()
        });
        jobs.remove(JobId(1));
        assert!(!waiter.is_finished());
        jobs.remove(JobId(2));
        waiter.join().unwrap();
    }
}
