//! Locks that live in a heap: cells of 64 bytes at any place of it, used by any process that is attached.
//!
//! All of them are *robust*: what a process held that died is found out by those who wait for it. No wait
//! relies on being woken: a thread sleeps for `TICK` at most and looks again, so whatever instruction a
//! process dies at, between giving up a lock and waking the next one for instance, costs others a tick.
//!
//! | file | what |
//! |---|---|
//! | `word` | the lock that all others are made of |
//! | `mutex`, `rwlock`, `condition`, `barrier`, `once` | the cells, by their address |
//! | `holds` | which processes read under which lock |
//! | `waits` | which threads have waited for long, and for what; circles of them |
//!
//! Lock order: none of them takes another one but a condition its mutex.

pub(crate) mod barrier;
mod cell;
pub(crate) mod condition;
pub(crate) mod error;
pub(crate) mod holds;
pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod rwlock;
pub(crate) mod waits;
pub(crate) mod word;

pub use barrier::{BARRIER_MAX, Passed, RawBarrier};
pub use condition::RawCondition;
pub use error::{Acquired, HolderInfo, LockError};
pub use mutex::RawMutex;
pub use once::{Begun, RawOnce};
pub use rwlock::RawRwLock;
pub use waits::WaitInfo;

use std::time::Duration;

/// For how long a thread sleeps at most before it looks again.
pub(crate) const TICK: Duration = Duration::from_millis(50);
