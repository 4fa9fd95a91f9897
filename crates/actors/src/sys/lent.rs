//! [`Lent`]: a value that one thread uses all the time, and lends for a while now and then, when another
//! thread may have it. What the owner pays for that is three plain accesses to memory; the other thread pays
//! for both.
//!
//! The owner says that it has the value, and looks whether another has it; the other one says so, and looks
//! whether the owner has it. Each must be seen by the other's look, for which both would need a barrier
//! between saying and looking. The other thread makes the owner's for it: `membarrier` returns when every
//! thread of the process has passed a full barrier. So either the owner has said so before that, and is seen;
//! or it looks after that, and sees. Where there is no such call nothing is ever lent.
//!
//! The interface is safe: there is one [`Owner`], and one thread at a time has the value.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use rustix::thread::{MembarrierCommand, membarrier};

/// Whether this process has said that it will ask for barriers on its threads.
fn is_registered() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok())
}

/// A value of one owner, which another thread may borrow while it is lent.
pub(crate) struct Lent<T> {
    /// The owner has it.
    owned: AtomicBool,
    /// Another thread has it, or looks whether it may.
    borrowed: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time has the value, and it may move between threads.
unsafe impl<T: Send> Sync for Lent<T> {}

/// The one that has the value, but while it lends it.
pub(crate) struct Owner<T> {
    lent: Arc<Lent<T>>,
    /// It is lent just now. What lends it may be forgotten instead of dropped; then it stays so.
    is_lent: bool,
}

/// While this lives, another thread may have the value.
pub(crate) struct Lending<'o, T>(&'o mut Owner<T>);

impl<T> Owner<T> {
    pub(crate) fn new(value: T) -> Self {
        let (owned, borrowed) = (AtomicBool::new(true), AtomicBool::new(false));
        // Before the first look of another thread: registering is a barrier too.
        let _ = is_registered();
        let lent = Arc::new(Lent { owned, borrowed, value: UnsafeCell::new(value) });
        Self { lent, is_lent: false }
    }

    /// For the other threads.
    pub(crate) fn shared(&self) -> Arc<Lent<T>> {
        self.lent.clone()
    }

    /// Lends the value until the result is dropped.
    #[inline]
    pub(crate) fn lend(&mut self) -> Lending<'_, T> {
        self.is_lent = true;
        self.lent.owned.store(false, Ordering::Release);
        Lending(self)
    }
}

impl<T> Drop for Lending<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let lent = &*self.0.lent;
        lent.owned.store(true, Ordering::Relaxed);
        // Another thread's `membarrier` makes this one of the processor's, too.
        compiler_fence(Ordering::SeqCst);
        if lent.borrowed.load(Ordering::Acquire) {
            lent.wait();
        }
        self.0.is_lent = false;
    }
}

impl<T> Deref for Owner<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        assert!(!self.is_lent, "what is lent is not the owner's");
        // SAFETY: it is not lent, so no other thread has it, nor gets it while this is borrowed.
        unsafe { &*self.lent.value.get() }
    }
}

impl<T> DerefMut for Owner<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        assert!(!self.is_lent, "what is lent is not the owner's");
        // SAFETY: as above, and this is borrowed alone.
        unsafe { &mut *self.lent.value.get() }
    }
}

impl<T> Lent<T> {
    /// The value is the owner's when no other thread has it any more.
    #[cold]
    fn wait(&self) {
        while self.borrowed.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    }

    /// Uses the value, if it is lent just now and no other thread has it. Short: its owner may wait for that.
    pub(crate) fn borrow<R>(&self, using: impl FnOnce(&mut T) -> R) -> Option<R> {
        struct Give<'a>(&'a AtomicBool);
        impl Drop for Give<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        if self.owned.load(Ordering::Relaxed)
            || !is_registered()
            || self.borrowed.swap(true, Ordering::Acquire)
        {
            return None;
        }
        let _give = Give(&self.borrowed);
        if membarrier(MembarrierCommand::PrivateExpedited).is_err() || self.owned.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: `borrowed` was set by this thread alone. The owner does not have the value, and when it
        // wants it, it sees that and waits, since a barrier of its thread was between setting that and
        // looking here.
        Some(using(unsafe { &mut *self.value.get() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::Owner;

    #[test]
    fn what_is_not_lent_is_not_given() {
        let mut owner = Owner::new(7);
        let shared = owner.shared();
        assert_eq!(shared.borrow(|value| *value), None);
        let lending = owner.lend();
        assert!(matches!(shared.borrow(|value| std::mem::replace(value, 8)), Some(7) | None));
        drop(lending);
        assert_eq!(shared.borrow(|value| *value), None);
    }

    #[test]
    #[should_panic = "not the owner's"]
    fn what_stays_lent_is_not_the_owners() {
        let mut owner = Owner::new(7);
        std::mem::forget(owner.lend());
        *owner = 8;
    }

    /// Both write the value without any other protection; nothing is lost.
    #[test]
    fn one_thread_at_a_time_has_it() {
        const ROUNDS: u64 = 200_000;
        let mut owner = Owner::new((0_u64, 0_u64));
        let shared = owner.shared();
        let (done, borrowed) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let added = shared.borrow(|(one, other)| {
                        *one += 1;
                        *other += 1;
                    });
                    borrowed.fetch_add(u64::from(added.is_some()), Ordering::Relaxed);
                }
            });
            for _ in 0..ROUNDS {
                let (one, other) = &mut *owner;
                *one += 1;
                *other += 1;
                drop(owner.lend());
            }
            done.store(true, Ordering::Relaxed);
        });
        let expected = ROUNDS + borrowed.load(Ordering::Relaxed);
        assert_eq!(*owner, (expected, expected));
    }
}
