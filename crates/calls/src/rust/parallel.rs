//! `spawn!` and `sync`, in Cilk's manner: calls run beside each other, results come in spawn order.
//!
//! Removing the words gives the same program, one call after the other. All siblings finish; the
//! first error in spawn order is the primary one and the rest are kept. At most as many run at once
//! as there are processors (or as asked for); waiting callers are served in the order they came.
//! Locks: one counter, held for an instant, never across a call.

use crate::error::CallError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

/// The first error in spawn order, and the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call {index}: {primary}")]
pub struct SyncError {
    /// Which spawn failed first, from 0.
    pub index: usize,
    /// Its error.
    pub primary: CallError,
    /// The other errors, by spawn.
    pub rest: Vec<(usize, CallError)>,
}

#[derive(Debug, Default)]
struct Turns {
    free: usize,
    queue: VecDeque<u64>,
    next: u64,
}

#[derive(Debug)]
struct Gate {
    turns: Mutex<Turns>,
    changed: Condvar,
}

impl Gate {
    fn enter(&self) {
        let mut turns = self.turns.lock();
        let mine = turns.next;
        turns.next += 1;
        turns.queue.push_back(mine);
        while turns.free == 0 || turns.queue.front() != Some(&mine) {
            self.changed.wait(&mut turns);
        }
        turns.queue.pop_front();
        turns.free -= 1;
        drop(turns);
        self.changed.notify_all();
    }

    fn leave(&self) {
        self.turns.lock().free += 1;
        self.changed.notify_all();
    }
}

/// A set of calls that run beside each other.
#[derive(Debug)]
pub struct Group<T> {
    gate: Arc<Gate>,
    running: Vec<JoinHandle<Result<T, CallError>>>,
}

impl<T: Send + 'static> Default for Group<T> {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl<T: Send + 'static> Group<T> {
    /// A group of which at most `width` calls run at once.
    ///
    /// # Panics
    /// When `width` is 0.
    #[must_use]
    pub fn new(width: usize) -> Self {
        assert!(width > 0, "a group of width 0 runs nothing");
        let turns = Mutex::new(Turns { free: width, ..Turns::default() });
        Self { gate: Arc::new(Gate { turns, changed: Condvar::new() }), running: Vec::new() }
    }

    /// Starts a call. Its thread waits for its turn if the group is busy.
    pub fn spawn(&mut self, call: impl FnOnce() -> Result<T, CallError> + Send + 'static) {
        let gate = Arc::clone(&self.gate);
        self.running.push(std::thread::spawn(move || {
            gate.enter();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
            gate.leave();
            result.unwrap_or_else(|_| Err(CallError::Failed("the spawned code panicked".into())))
        }));
    }

    /// Waits for all; returns each result, in spawn order.
    #[must_use]
    pub fn sync_all(self) -> Vec<Result<T, CallError>> {
        let lost = || Err(CallError::Failed("the spawned thread was lost".into()));
        self.running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    }

    /// Waits for all; returns the values in spawn order.
    ///
    /// # Errors
    /// [`SyncError`] when at least one call failed; the siblings have finished all the same.
    pub fn sync(self) -> Result<Vec<T>, SyncError> {
        let mut values = Vec::new();
        let mut errors = Vec::new();
        for (index, result) in self.sync_all().into_iter().enumerate() {
            match result {
                Ok(value) => values.push(value),
                Err(error) => errors.push((index, error)),
            }
        }
        if errors.is_empty() {
            return Ok(values);
        }
        let (index, primary) = errors.remove(0);
        Err(SyncError { index, primary, rest: errors })
    }
}

/// `spawn!(group, f(x))` starts the call `f(x)` in `group`; its arguments are evaluated at once.
#[macro_export]
macro_rules! spawn {
    ($group:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let arguments = ($($argument,)*);
        $group.spawn(move || $crate::spawn!(@apply $function arguments ($($argument),*)))
    }};
    (@apply $function:ident $arguments:ident ()) => {{ let () = $arguments; $function() }};
    (@apply $function:ident $arguments:ident ($a:expr)) => { $function($arguments.0) };
    (@apply $function:ident $arguments:ident ($a:expr, $b:expr)) => { $function($arguments.0, $arguments.1) };
    (@apply $function:ident $arguments:ident ($a:expr, $b:expr, $c:expr)) => { $function($arguments.0, $arguments.1, $arguments.2) };
    (@apply $function:ident $arguments:ident ($a:expr, $b:expr, $c:expr, $d:expr)) => {
        $function($arguments.0, $arguments.1, $arguments.2, $arguments.3)
    };
}
