//! Conditions, barriers, onces and atomics by name.

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::HeapSafe;
use super::guards::{Held, MutexGuard};
use crate::Heap;
use crate::error::RootError;
use crate::layout::LOCK_BYTES;
use crate::roots::TypeOf;
use crate::sync::barrier::{Passed, RawBarrier};
use crate::sync::condition::RawCondition;
use crate::sync::error::LockError;
use crate::sync::once::{Begun, RawOnce};

fn cell(heap: &Heap, name: &str, kind: &str, make: impl Fn(usize)) -> Result<usize, RootError> {
    heap.root_or_make(name, &TypeOf::new(kind, LOCK_BYTES, LOCK_BYTES), LOCK_BYTES, LOCK_BYTES, make)
}

/// A word that all processes change atomically, by the methods of [`AtomicU64`].
#[derive(Clone, Debug)]
pub struct SharedU64 {
    heap: Heap,
    address: usize,
}

/// Threads sleep until another one says that something changed.
#[derive(Clone, Debug)]
pub struct Condition {
    heap: Heap,
    address: usize,
}

/// Threads wait for each other.
#[derive(Clone, Debug)]
pub struct Barrier {
    heap: Heap,
    address: usize,
}

/// Something is done once.
#[derive(Clone, Debug)]
pub struct Once {
    heap: Heap,
    address: usize,
}

impl Heap {
    /// The word with this name, made as 0 if there is none.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn atomic_u64(&self, name: &str) -> Result<SharedU64, RootError> {
        // A cache line for itself.
        let kind = TypeOf::new("atomic u64", 8, 8);
        let address = self.root_or_make(name, &kind, LOCK_BYTES, LOCK_BYTES, |_| {})?;
        Ok(SharedU64 { heap: self.clone(), address })
    }

    /// The condition with this name, made if there is none.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn condition(&self, name: &str) -> Result<Condition, RootError> {
        let address = cell(self, name, "condition", |address| {
            // The place was just allocated with a cell's size and alignment.
            let _made = RawCondition::make(&self.attachment, address);
        })?;
        Ok(Condition { heap: self.clone(), address })
    }

    /// The barrier with this name, made for `count` threads if there is none.
    ///
    /// # Errors
    /// See [`RootError`]; a barrier for no thread, or more than 65,535, is no barrier.
    pub fn barrier(&self, name: &str, count: u32) -> Result<Barrier, RootError> {
        if count == 0 || count > crate::sync::barrier::BARRIER_MAX {
            let wanted = format!("a barrier for {count} threads");
            let has = "a barrier for 1 to 65535".to_owned();
            return Err(RootError::WrongType { name: name.to_owned(), wanted, has });
        }
        let kind = format!("barrier of {count}");
        let address = cell(self, name, &kind, |address| {
            let _made = RawBarrier::make(&self.attachment, address, count);
        })?;
        Ok(Barrier { heap: self.clone(), address })
    }

    /// The once with this name, made if there is none.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn once(&self, name: &str) -> Result<Once, RootError> {
        let address = cell(self, name, "once", |address| {
            let _made = RawOnce::make(&self.attachment, address);
        })?;
        Ok(Once { heap: self.clone(), address })
    }
}

impl Deref for SharedU64 {
    type Target = AtomicU64;

    fn deref(&self) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        // The address was checked when the root was opened.
        self.heap.attachment.memory().word(self.address).unwrap_or(&NONE)
    }
}

impl Condition {
    /// Gives the lock of `guard` up, waits until `is_so` holds, and has the lock again. `timeout` ends the
    /// wait: ask the guard what holds then.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock); the lock is then not held.
    pub fn wait_until<'a, T: HeapSafe>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Option<Duration>,
        mut is_so: impl FnMut(&T) -> bool,
    ) -> Result<Held<MutexGuard<'a, T>>, LockError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let condition = RawCondition::at(&self.heap.attachment, self.address)?;
        let mut held = Held::Clean(guard);
        loop {
            let guard = match held {
                Held::Clean(guard) => guard,
                // What the dead left is to be looked at first.
                Held::OwnerDied(guard) => return Ok(Held::OwnerDied(guard)),
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if is_so(&guard) || left.is_some_and(|left| left.is_zero()) {
                return Ok(Held::Clean(guard));
            }
            held = guard.wait(&condition, left)?;
        }
    }

    /// Wakes one thread that waits.
    ///
    /// # Errors
    /// Something has written over the condition.
    pub fn notify_one(&self) -> Result<(), LockError> {
        RawCondition::at(&self.heap.attachment, self.address)?.notify_one();
        Ok(())
    }

    /// Wakes all threads that wait.
    ///
    /// # Errors
    /// Something has written over the condition.
    pub fn notify_all(&self) -> Result<(), LockError> {
        RawCondition::at(&self.heap.attachment, self.address)?.notify_all();
        Ok(())
    }
}

impl Barrier {
    /// Comes, and waits for the others.
    ///
    /// # Errors
    /// [`LockError::Broken`] if a process that has come before died; time over.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Passed, LockError> {
        RawBarrier::at(&self.heap.attachment, self.address)?.wait(timeout)
    }

    /// Makes a broken barrier whole, for as many threads as before.
    ///
    /// # Errors
    /// Something has written over the barrier.
    pub fn reset(&self) -> Result<(), LockError> {
        RawBarrier::at(&self.heap.attachment, self.address)?.reset(None)
    }
}

impl Once {
    /// Has `what` done, unless it is done; waits if another thread does it. If that one dies, or panics, the
    /// next one begins again: `what` is told what was left.
    ///
    /// # Errors
    /// A deadlock: `what` asks for the same.
    pub fn call(&self, what: impl FnOnce(crate::sync::error::Acquired)) -> Result<(), LockError> {
        struct Abandons<'a>(RawOnce<'a>);
        impl Drop for Abandons<'_> {
            fn drop(&mut self) {
                // This thread has begun.
                let _abandoned = self.0.abandon();
            }
        }
        let once = RawOnce::at(&self.heap.attachment, self.address)?;
        if let Begun::Begin(acquired) = once.begin(None)? {
            let abandons = Abandons(once);
            what(acquired);
            std::mem::forget(abandons);
            once.finish()?;
        }
        Ok(())
    }

    /// Whether it is done.
    ///
    /// # Errors
    /// Something has written over it.
    pub fn is_done(&self) -> Result<bool, LockError> {
        Ok(RawOnce::at(&self.heap.attachment, self.address)?.is_done())
    }
}
