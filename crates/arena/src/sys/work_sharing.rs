//! Work in parts, for which the program stands still: another thread that has nothing else to do may take
//! some of them. There is no wait for a helper that has not begun, so without a free processor the work takes
//! as long as it takes alone.
//!
//! For copies of memory. Not for scans of page tables: what a scan protects must be flushed from the
//! translation caches of every processor that runs the process, which cost more than the second thread saved.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A piece of work that is being done.
pub(crate) struct SharedWork {
    /// Lives until `share` returns, and is used only for a part that is claimed, for which `share` then
    /// waits.
    work: *const (dyn Fn(usize) + Sync),
    parts: usize,
    /// The part to be claimed next; `parts` or more when there is none.
    next: AtomicUsize,
    /// Parts that are done, or have ended in a panic.
    done: AtomicUsize,
}

// SAFETY: the work may be called from any thread, since it is `Sync`; see there for how long it is.
unsafe impl Send for SharedWork {}
// SAFETY: as above.
unsafe impl Sync for SharedWork {}

impl SharedWork {
    /// Does parts until none is left.
    pub(crate) fn help(&self) {
        struct Done<'a>(&'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Release);
            }
        }
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= self.parts {
                return;
            }
            let _done = Done(&self.done);
            // SAFETY: `share` does not return before this claimed part is done.
            unsafe { (*self.work)(part) };
        }
    }
}

/// Does all parts, together with the threads to which `call` shows the work and which call
/// [`SharedWork::help`].
///
/// # Panics
/// If a part does, here.
pub(crate) fn share(parts: usize, work: &(dyn Fn(usize) + Sync), call: impl FnOnce(Arc<SharedWork>)) {
    struct Waits(Arc<SharedWork>);
    impl Drop for Waits {
        fn drop(&mut self) {
            // After a panic too: what is not claimed yet stays undone, and what is claimed still uses the
            // work.
            let claimed = self.0.next.swap(self.0.parts, Ordering::Relaxed).min(self.0.parts);
            while self.0.done.load(Ordering::Acquire) < claimed {
                std::thread::yield_now();
            }
        }
    }
    let work: *const (dyn Fn(usize) + Sync) = std::ptr::from_ref(work);
    // SAFETY: only the lifetime changes; `Waits` keeps the work from being used after it.
    let work: *const (dyn Fn(usize) + Sync + 'static) = unsafe { std::mem::transmute(work) };
    let shared = Arc::new(SharedWork { work, parts, next: AtomicUsize::new(0), done: AtomicUsize::new(0) });
    let waits = Waits(Arc::clone(&shared));
    call(shared);
    waits.0.help();
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use super::*;

    /// Each part is done once, whether a helper comes early, late or never.
    #[test]
    fn each_part_is_done_once() {
        for round in 0..200 {
            let done: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
            let mut helper = None;
            share(
                done.len(),
                &|part| {
                    done[part].fetch_add(1, Ordering::Relaxed);
                },
                |shared| match round % 3 {
                    0 => drop(shared),
                    1 => shared.help(),
                    _ => helper = Some(std::thread::spawn(move || shared.help())),
                },
            );
            // Of a helper that is late the work must be gone already: it finds none.
            let counts: Vec<usize> = done.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            assert_eq!(counts, [1; 50]);
            drop(done);
            helper.map(std::thread::JoinHandle::join).transpose().unwrap();
        }
    }

    /// A panic waits for the part that another thread has begun, and is passed on.
    #[test]
    fn a_panic_waits_for_the_others() {
        let begun = mpsc::channel::<()>();
        let (begin, begun) = (Mutex::new(begun.0), begun.1);
        let ended = AtomicUsize::new(0);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            share(
                2,
                &|_| {
                    if std::thread::current().name() == Some("helper") {
                        begin.lock().unwrap().send(()).unwrap();
                        std::thread::sleep(Duration::from_millis(20));
                        ended.fetch_add(1, Ordering::Relaxed);
                    } else {
                        panic!("on purpose");
                    }
                },
                |shared| {
                    let helper = std::thread::Builder::new().name("helper".into());
                    helper.spawn(move || shared.help()).unwrap();
                    begun.recv_timeout(Duration::from_secs(10)).unwrap();
                },
            );
        }));
        assert!(panicked.is_err());
        assert!(ended.load(Ordering::Relaxed) >= 1, "what was begun has ended");
    }
}
