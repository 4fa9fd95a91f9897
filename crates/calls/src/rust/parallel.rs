//! `spawn!` and `sync`, in Cilk's manner: calls run beside each other, results come in spawn order.
//!
//! Removing the words gives the same program, one call after the other. All siblings finish; the
//! first error in spawn order is the primary one and the rest are kept. At most as many run at once
//! as there are processors (or as asked for), on as many threads, in the order they came. Of those that
//! wait for their turn there is a bound, at which spawning waits: without the words it would, too.
//! Locks: one, held for an instant, never across a call.

use crate::error::CallError;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Calls that may wait for their turn, for each that may run.
const WAITING_MAX: usize = 64;

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

type Call<T> = Box<dyn FnOnce() -> Result<T, CallError> + Send>;

struct State<T> {
    /// By spawn, `None` for a call that has not ended.
    results: Vec<Option<Result<T, CallError>>>,
    /// Those that wait for their turn, in order.
    waiting: VecDeque<(usize, Call<T>)>,
    ended: usize,
    threads: usize,
    /// Threads that wait for a call.
    idle: usize,
    /// No more calls will come.
    is_complete: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// A call came, or none will any more.
    came: Condvar,
    /// A call began or ended.
    went: Condvar,
}

impl<T> Shared<T> {
    /// Runs the call that came first, if there is one; the lock is let go meanwhile.
    fn run_one(&self, state: &mut MutexGuard<'_, State<T>>) -> bool {
        let Some((index, call)) = state.waiting.pop_front() else { return false };
        self.went.notify_all();
        let result =
            MutexGuard::unlocked(state, || std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)));
        let panicked = |_| Err(CallError::Failed("the spawned code panicked".into()));
        state.results[index] = Some(result.unwrap_or_else(panicked));
        state.ended += 1;
        self.went.notify_all();
        true
    }

    /// A thread of the group.
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if self.run_one(&mut state) {
                continue;
            }
            if state.is_complete {
                state.threads -= 1;
                return;
            }
            state.idle += 1;
            self.came.wait(&mut state);
            state.idle -= 1;
        }
    }
}

/// A set of calls that run beside each other.
pub struct Group<T> {
    width: usize,
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for Group<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Group").field("width", &self.width).finish_non_exhaustive()
    }
}

/// A group that is given up runs what was spawned all the same.
impl<T> Drop for Group<T> {
    fn drop(&mut self) {
        self.shared.state.lock().is_complete = true;
        self.shared.came.notify_all();
    }
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
        let state = State {
            results: Vec::new(),
            waiting: VecDeque::new(),
            ended: 0,
            threads: 0,
            idle: 0,
            is_complete: false,
        };
        let shared = Shared { state: Mutex::new(state), came: Condvar::new(), went: Condvar::new() };
        Self { width, shared: Arc::new(shared) }
    }

    /// Starts a call. It waits for its turn if the group is busy; if very many wait, so does this.
    pub fn spawn(&mut self, call: impl FnOnce() -> Result<T, CallError> + Send + 'static) {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        while state.waiting.len() >= self.width.saturating_mul(WAITING_MAX) {
            shared.went.wait(&mut state);
        }
        let index = state.results.len();
        state.results.push(None);
        state.waiting.push_back((index, Box::new(call)));
        if state.idle >= state.waiting.len() {
            shared.came.notify_one();
        } else if state.threads < self.width {
            let serving = Arc::clone(shared);
            match std::thread::Builder::new().spawn(move || serving.serve()) {
                Ok(_) => state.threads += 1,
                // The others serve it, or else this one.
                Err(_) if state.threads > 0 => {}
                Err(_) => while shared.run_one(&mut state) {},
            }
        }
    }

    /// Waits for all; returns each result, in spawn order.
    #[must_use]
    pub fn sync_all(self) -> Vec<Result<T, CallError>> {
        let mut state = self.shared.state.lock();
        while state.ended < state.results.len() {
            self.shared.went.wait(&mut state);
        }
        let lost = || Err(CallError::Failed("the spawned call was lost".into()));
        std::mem::take(&mut state.results).into_iter().map(|result| result.unwrap_or_else(lost)).collect()
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
