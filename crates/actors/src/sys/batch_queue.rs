//! [`BatchQueue`]: many threads put batches in, one at a time takes everything out. No lock.
//!
//! A stack of batches that is swapped out whole and reversed (Treiber's, without the ABA problem, as no
//! thread pops a single node). What one thread puts in comes out in its order.
//!
//! What is put in and then looked for by a thread that has said, before it looks, that it goes to rest, is
//! seen by one of both: putting in, looking ([`BatchQueue::is_empty`]) and taking are sequentially
//! consistent, as the flag must be.
//!
//! The interface is safe: nodes are boxes whose owner is the queue while they are linked, and a thread's own
//! from when they are swapped out. A function that unwinds while it is given items loses what it was not
//! given.

use std::ptr::null_mut;

// Loom's, in the tests with loom.
use super::atomic::{AtomicPtr, Ordering};

enum Items<T> {
    One(T),
    Many(Vec<T>),
}

struct Node<T> {
    items: Items<T>,
    next: *mut Node<T>,
}

/// A queue of `T` between threads.
#[derive(Debug)]
pub(crate) struct BatchQueue<T> {
    newest: AtomicPtr<Node<T>>,
}

// SAFETY: values move from the thread that puts them in to the one that takes them out; nothing is shared.
unsafe impl<T: Send> Send for BatchQueue<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for BatchQueue<T> {}

impl<T> BatchQueue<T> {
    /// An empty queue.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { newest: AtomicPtr::new(null_mut()) }
    }

    /// Puts one in.
    #[inline]
    pub(crate) fn push(&self, item: T) {
        self.link(Items::One(item));
    }

    /// Puts these in, which come out one after the other.
    pub(crate) fn push_many(&self, items: Vec<T>) {
        if !items.is_empty() {
            self.link(Items::Many(items));
        }
    }

    fn link(&self, items: Items<T>) {
        let node = Box::into_raw(Box::new(Node { items, next: null_mut() }));
        let mut next = self.newest.load(Ordering::Relaxed);
        loop {
            // SAFETY: the node is not linked yet, so it is this thread's alone.
            unsafe { (*node).next = next };
            // SeqCst: a thread that looks here after it has said that it rests sees this, or is seen to rest.
            match self.newest.compare_exchange_weak(next, node, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => next = changed,
            }
        }
    }

    /// Whether there was nothing to take.
    #[inline]
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::SeqCst).is_null()
    }

    /// Takes everything, oldest first.
    pub(crate) fn take(&self, mut each: impl FnMut(T)) {
        let mut node = self.newest.swap(null_mut(), Ordering::SeqCst);
        let mut oldest = null_mut();
        while !node.is_null() {
            // SAFETY: what was swapped out is this thread's alone.
            let next = unsafe { std::mem::replace(&mut (*node).next, oldest) };
            oldest = node;
            node = next;
        }
        while !oldest.is_null() {
            // SAFETY: each node was made by `Box::into_raw` and is visited once.
            let node = unsafe { Box::from_raw(oldest) };
            oldest = node.next;
            match node.items {
                Items::One(item) => each(item),
                Items::Many(items) => items.into_iter().for_each(&mut each),
            }
        }
    }
}

impl<T> Default for BatchQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for BatchQueue<T> {
    fn drop(&mut self) {
        self.take(drop);
    }
}
