//! [`Pending`]: a call that goes on by itself, to be awaited by any executor, waited for, or cancelled.
//!
//! `begin!(f(x))` has one of a few threads of this module make the call, in the order in which calls began;
//! as many run at once as there are processors, which is how many workers there are. A call that is
//! cancelled, or whose [`Pending`] is dropped, is over for its caller at once; if it was running, its
//! deadline passes, so that its worker is ended within moments and its thread is free. Not for groups of
//! calls: those are in `parallel`. Not in a child made by `fork`, which has none of the threads.
//!
//! Locks: one for the queue, one for each call, each held for an instant, never one under the other, never
//! across a call or a wake-up.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::caller::connection::CallOptions;
use crate::error::{CallError, Ran};
use crate::shared::waiting::Cancellation;

/// Calls that may wait for a thread; more are [`CallError::TooMany`].
const WAITING_MAX: usize = 1 << 16;

thread_local! {
    /// Of the call that this thread makes for a [`Pending`].
    static CURRENT: Cell<Option<Cancellation>> = const { Cell::new(None) };
}

/// The options of a call of this thread's: it ends when it is cancelled, too.
pub(crate) fn cancellable(options: &CallOptions) -> CallOptions {
    CallOptions { cancellation: CURRENT.get(), ..*options }
}

type Job = Box<dyn FnOnce(Cancellation) + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { jobs: VecDeque::new(), threads: 0, idle: 0 });
static CAME: Condvar = Condvar::new();

/// A thread that makes calls. It stays, and so does its word of memory.
fn serve() {
    let cancelled: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    for call in 1.. {
        let job = {
            let mut queue = QUEUE.lock();
            loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break job;
                }
                queue.idle += 1;
                CAME.wait(&mut queue);
                queue.idle -= 1;
            }
        };
        let cancellation = Cancellation::new(cancelled, call);
        CURRENT.set(Some(cancellation));
        job(cancellation);
        CURRENT.set(None);
    }
}

/// Has a thread do it; gives it back if there is none and none can be started.
fn submit(job: Job) -> Result<(), CallError> {
    let mut queue = QUEUE.lock();
    if queue.jobs.len() >= WAITING_MAX {
        return Err(CallError::TooMany);
    }
    queue.jobs.push_back(job);
    if queue.idle >= queue.jobs.len() {
        CAME.notify_one();
    } else if queue.threads < std::thread::available_parallelism().map_or(1, usize::from) {
        match std::thread::Builder::new().name("banyan-calls".into()).spawn(serve) {
            Ok(_) => queue.threads += 1,
            // The others do it.
            Err(_) if queue.threads > 0 => {}
            Err(error) => {
                queue.jobs.pop_back();
                return Err(CallError::NoService(format!("no thread can be started for calls: {error}")));
            }
        }
    }
    Ok(())
}

struct State<T> {
    result: Option<Result<T, CallError>>,
    /// Of a call that is running.
    running: Option<Cancellation>,
    waker: Option<Waker>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

impl<T> Shared<T> {
    /// The call has ended, unless it had before.
    fn end(&self, how: impl FnOnce(&mut State<T>) -> Result<T, CallError>) {
        let mut state = self.state.lock();
        if state.result.is_some() {
            return;
        }
        state.result = Some(how(&mut state));
        let waker = state.waker.take();
        drop(state);
        self.ended.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn cancel(&self) {
        self.end(|state| {
            let ran = if state.running.is_some() { Ran::Maybe } else { Ran::No };
            if let Some(running) = &state.running {
                running.cancel();
            }
            Err(CallError::Cancelled { ran })
        });
    }
}

/// A call that was begun by [`begin!`](crate::begin). Dropping it cancels the call.
#[must_use = "a call is cancelled when its `Pending` is dropped"]
pub struct Pending<T>(Arc<Shared<T>>);

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pending").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Pending<T> {
    /// Begins a call; `begin!` is a shorter way to write it.
    pub fn begin(call: impl FnOnce() -> Result<T, CallError> + Send + 'static) -> Self {
        let state = Mutex::new(State { result: None, running: None, waker: None });
        let shared = Arc::new(Shared { state, ended: Condvar::new() });
        let of_job = Arc::clone(&shared);
        let job: Job = Box::new(move |cancellation| {
            {
                let mut state = of_job.state.lock();
                if state.result.is_some() {
                    return;
                }
                state.running = Some(cancellation);
            }
            let result = catch_unwind(AssertUnwindSafe(call));
            of_job.end(|state| {
                state.running = None;
                result.unwrap_or_else(|_| Err(CallError::Failed("the code of the call panicked".into())))
            });
        });
        if let Err(error) = submit(job) {
            shared.end(|_| Err(error));
        }
        Self(shared)
    }
}

impl<T> Pending<T> {
    /// Whether there is a result.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.state.lock().result.is_some()
    }

    /// Ends the call, unless it has ended: its result is [`CallError::Cancelled`] at once, and its worker is
    /// ended within moments. Over TCP the server's worker goes on until the call's deadline.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub fn wait(self) -> Result<T, CallError> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(result) = state.result.take() {
                // Dropping `self` cancels nothing that has ended.
                state.result = Some(Err(CallError::Cancelled { ran: Ran::No }));
                return result;
            }
            self.0.ended.wait(&mut state);
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, CallError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        match state.result.take() {
            Some(result) => {
                state.result = Some(Err(CallError::Cancelled { ran: Ran::No }));
                Poll::Ready(result)
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// `begin!(f(x))` begins the call `f(x)` and gives its [`Pending`](crate::pending::Pending); its arguments
/// are evaluated at once.
#[macro_export]
macro_rules! begin {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        let arguments = ($($argument,)*);
        $crate::pending::Pending::begin(move || $crate::spawn!(@apply $function arguments ($($argument),*)))
    }};
}
