//! The program's memory as the stub reaches it: safe copies, and the memory calls that change its layout.

pub mod call;
pub mod copy;
pub mod futex;
pub mod perform;
pub mod segment;
pub mod source;
pub mod transfer;

use crate::lock::Lock;

/// Held over a whole memory call: question, kernel operations, follow-up questions.
pub static LOCK: Lock = Lock::new();
