//! Data that a lock protects, in a cell's place: the lock in its first 64 bytes, the data after it.
//!
//! Here are the only references into the users' part. What makes them sound: the data is reached through its
//! lock alone, whose word gives it to one thread of all processes (or to readers together), the type
//! takes any bytes, and the guard keeps the heap mapped. A process that writes there without the lock
//! breaks what it breaks in any program that shares memory.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::time::Duration;

use super::{HeapSafe, type_of};
use crate::Heap;
use crate::error::RootError;
use crate::layout::LOCK_BYTES;
use crate::sync::condition::RawCondition;
use crate::sync::error::{Acquired, LockError};
use crate::sync::mutex::RawMutex;
use crate::sync::rwlock::RawRwLock;
use crate::sys::copies;

/// A guard, and whether a holder died since what it protects was last known to be whole.
#[derive(Debug)]
#[must_use = "what the lock protects may be half changed"]
pub enum Held<G> {
    /// It is whole.
    Clean(G),
    /// A holder died with it, and it may be half changed: `repair` it.
    OwnerDied(G),
}

impl<G: Repairable> Held<G> {
    /// The guard, after `repair` has made whole what a dead holder may have left.
    ///
    /// # Errors
    /// Something has written over the lock.
    pub fn repaired(self, repair: impl FnOnce(&mut G)) -> Result<G, LockError> {
        match self {
            Self::Clean(guard) => Ok(guard),
            Self::OwnerDied(mut guard) => {
                repair(&mut guard);
                guard.make_consistent()?;
                Ok(guard)
            }
        }
    }
}

/// Guards that can say that what they protect is whole again.
pub trait Repairable {
    /// Says so.
    ///
    /// # Errors
    /// Something has written over the lock.
    fn make_consistent(&mut self) -> Result<(), LockError>;
}

fn held<G>(acquired: Acquired, guard: G) -> Held<G> {
    match acquired {
        Acquired::Clean => Held::Clean(guard),
        Acquired::OwnerDied => Held::OwnerDied(guard),
    }
}

/// Data that one thread of all processes has at a time.
#[derive(Clone, Debug)]
pub struct Mutex<T> {
    heap: Heap,
    address: usize,
    data: PhantomData<fn() -> T>,
}

/// Data that many threads read or one writes.
#[derive(Clone, Debug)]
pub struct RwLock<T> {
    heap: Heap,
    address: usize,
    data: PhantomData<fn() -> T>,
}

/// Where the data of a lock at `address` is.
fn data_of<T>(address: usize) -> NonNull<T> {
    let data: *mut T = std::ptr::with_exposed_provenance_mut(address + LOCK_BYTES);
    // A heap begins far above 0.
    NonNull::new(data).unwrap_or(NonNull::dangling())
}

fn make_guarded<T: HeapSafe>(
    heap: &Heap,
    name: &str,
    form: &str,
    value: T,
    make: impl Fn(usize),
) -> Result<usize, RootError> {
    const { assert!(align_of::<T>() <= LOCK_BYTES) };
    heap.root_or_make(name, &type_of::<T>(form), LOCK_BYTES + size_of::<T>(), LOCK_BYTES, |address| {
        let memory = heap.attachment.memory();
        copies::store(memory, address + LOCK_BYTES, value.as_bytes(), align_of::<T>());
        make(address);
    })
}

impl Heap {
    /// The data with this name and its mutex; made of `value` if there is none.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn mutex<T: HeapSafe>(&self, name: &str, value: T) -> Result<Mutex<T>, RootError> {
        let address = make_guarded(self, name, "mutex of ", value, |address| {
            // The place was just allocated with a cell's alignment.
            let _made = RawMutex::make(&self.attachment, address);
        })?;
        Ok(Mutex { heap: self.clone(), address, data: PhantomData })
    }

    /// The data with this name and its reader-writer lock; made of `value` if there is none.
    ///
    /// # Errors
    /// See [`RootError`].
    pub fn rwlock<T: HeapSafe>(&self, name: &str, value: T) -> Result<RwLock<T>, RootError> {
        let address = make_guarded(self, name, "rwlock of ", value, |address| {
            let _made = RawRwLock::make(&self.attachment, address);
        })?;
        Ok(RwLock { heap: self.clone(), address, data: PhantomData })
    }
}

impl<T: HeapSafe> Mutex<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// A deadlock.
    pub fn lock(&self) -> Result<Held<MutexGuard<'_, T>>, LockError> {
        self.lock_within(None)
    }

    /// Waits for it for `timeout` at most, or for ever.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], which says who has it; a deadlock.
    pub fn lock_within(&self, timeout: Option<Duration>) -> Result<Held<MutexGuard<'_, T>>, LockError> {
        let raw = RawMutex::at(&self.heap.attachment, self.address)?;
        let acquired = raw.lock(timeout)?;
        Ok(held(acquired, MutexGuard { raw, data: data_of(self.address), lock: PhantomData }))
    }

    /// Takes it if that takes no wait.
    ///
    /// # Errors
    /// Something has written over it.
    pub fn try_lock(&self) -> Result<Option<Held<MutexGuard<'_, T>>>, LockError> {
        let raw = RawMutex::at(&self.heap.attachment, self.address)?;
        let acquired = raw.try_lock()?;
        let guard =
            |acquired| held(acquired, MutexGuard { raw, data: data_of(self.address), lock: PhantomData });
        Ok(acquired.map(guard))
    }
}

impl<T: HeapSafe> RwLock<T> {
    /// Waits for it, to read, for `timeout` at most or for ever.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], a deadlock, or too many readers.
    pub fn read(&self, timeout: Option<Duration>) -> Result<Held<ReadGuard<'_, T>>, LockError> {
        let raw = RawRwLock::at(&self.heap.attachment, self.address)?;
        let acquired = raw.read(timeout)?;
        Ok(held(acquired, ReadGuard { raw, data: data_of(self.address), lock: PhantomData }))
    }

    /// Waits for it, to write, for `timeout` at most or for ever.
    ///
    /// # Errors
    /// [`LockError::TimedOut`], or a deadlock.
    pub fn write(&self, timeout: Option<Duration>) -> Result<Held<WriteGuard<'_, T>>, LockError> {
        let raw = RawRwLock::at(&self.heap.attachment, self.address)?;
        let acquired = raw.write(timeout)?;
        Ok(held(acquired, WriteGuard { raw, data: data_of(self.address), lock: PhantomData }))
    }
}

/// The right to the data of a [`Mutex`]; ends with it. Not for another thread: locks know their holder.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    raw: RawMutex<'a>,
    /// A raw pointer, so that the guard stays on its thread.
    data: NonNull<T>,
    lock: PhantomData<&'a mut T>,
}

/// The right to read the data of a [`RwLock`].
#[derive(Debug)]
pub struct ReadGuard<'a, T> {
    raw: RawRwLock<'a>,
    data: NonNull<T>,
    lock: PhantomData<&'a T>,
}

/// The right to write the data of a [`RwLock`].
#[derive(Debug)]
pub struct WriteGuard<'a, T> {
    raw: RawRwLock<'a>,
    data: NonNull<T>,
    lock: PhantomData<&'a mut T>,
}

impl<'a, T> MutexGuard<'a, T> {
    /// Gives the lock up, sleeps, and has it again.
    pub(super) fn wait(
        self,
        condition: &RawCondition<'_>,
        at_most: Option<Duration>,
    ) -> Result<Held<Self>, LockError> {
        // While it sleeps there is no guard, so that an error leaves none for a lock that is not held.
        let (raw, data) = (self.raw, self.data);
        std::mem::forget(self);
        let acquired = condition.wait(&raw, at_most)?;
        Ok(held(acquired, Self { raw, data, lock: PhantomData }))
    }
}

impl<T> Repairable for MutexGuard<'_, T> {
    fn make_consistent(&mut self) -> Result<(), LockError> {
        self.raw.make_consistent()
    }
}

impl<T> Repairable for WriteGuard<'_, T> {
    fn make_consistent(&mut self) -> Result<(), LockError> {
        self.raw.make_consistent()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: see the module: this thread has the lock of this data, of a type that takes any bytes.
        unsafe { self.data.as_ref() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed exclusively.
        unsafe { self.data.as_mut() }
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: see the module: this thread alone has the lock of this data.
        unsafe { self.data.as_ref() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed exclusively.
        unsafe { self.data.as_mut() }
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: see the module: readers have the lock, and no writer has it.
        unsafe { self.data.as_ref() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // This thread has it: guards stay on theirs.
        let _unlocked = self.raw.unlock();
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        let _unlocked = self.raw.unlock_read();
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        let _unlocked = self.raw.unlock_write();
    }
}
