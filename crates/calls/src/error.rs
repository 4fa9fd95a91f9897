//! What a call can fail with, and what is known about whether it ran.
//!
//! For callers. Not for errors of making a wrapper; see [`crate::generate`].

use crate::shared::frame::FrameError;
use thiserror::Error;

/// Whether a call that failed may have had effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It never started: calling again is safe.
    No,
    /// It may have run, in part or wholly.
    Maybe,
}

/// Why a call gave no result.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// The callee was ended by a signal.
    #[error("the callee crashed: signal {signal} at address {address:#x}, instruction {instruction:#x}")]
    Crashed {
        /// The signal's number.
        signal: i32,
        /// The address that faulted, 0 if unknown.
        address: u64,
        /// The instruction that faulted, 0 if unknown.
        instruction: u64,
        /// Whether it may have run.
        ran: Ran,
    },
    /// The deadline or the limit of processor time passed; the callee was ended.
    #[error("the callee did not answer in time and was ended")]
    TimedOut {
        /// Whether it may have run.
        ran: Ran,
    },
    /// The caller wanted no result any more; the callee was ended.
    #[error("the call was cancelled")]
    Cancelled {
        /// Whether it may have run.
        ran: Ran,
    },
    /// The sandbox refused a system call; the callee was ended.
    #[error("the sandbox refused system call {call}")]
    Refused {
        /// The system call's number.
        call: u32,
    },
    /// The callee ended its process.
    #[error("the callee exited with status {status}")]
    Exited {
        /// The status given to `exit`.
        status: i32,
    },
    /// The worker could not be reached or started.
    #[error("no such service: {0}")]
    NoService(String),
    /// The library has no such function.
    #[error("the callee has no such function")]
    NoFunction,
    /// The function ran and returned its own error, or panicked.
    #[error("the function failed: {0}")]
    Failed(String),
    /// An argument points into the memory of a worker that has ended.
    #[error("a handle belongs to a worker that has ended, of slot {of}")]
    StaleHandle {
        /// The slot that the handle points into.
        of: u32,
    },
    /// The worker broke the rules of the channel and was ended.
    #[error("the worker broke the channel's rules: {0}")]
    Protocol(#[from] FrameError),
    /// The connection to another node broke.
    #[error("the connection to the service was lost: {reason}")]
    Disconnected {
        /// What happened.
        reason: String,
        /// Whether the call may have run.
        ran: Ran,
    },
    /// Deeper nesting than supported.
    #[error("too many calls at once")]
    TooMany,
}

impl CallError {
    /// Whether the failure is of the system, not of the function: what a retry may cure.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        matches!(
            self,
            Self::Crashed { .. }
                | Self::TimedOut { .. }
                | Self::Exited { .. }
                | Self::Protocol(_)
                | Self::Disconnected { .. }
                | Self::Refused { .. }
        )
    }

    /// Whether the call may have had effects.
    #[must_use]
    pub const fn ran(&self) -> Ran {
        match self {
            Self::Crashed { ran, .. }
            | Self::TimedOut { ran }
            | Self::Cancelled { ran }
            | Self::Disconnected { ran, .. } => *ran,
            Self::NoService(_) | Self::NoFunction | Self::StaleHandle { .. } | Self::TooMany => Ran::No,
            Self::Refused { .. } | Self::Exited { .. } | Self::Failed(_) | Self::Protocol(_) => Ran::Maybe,
        }
    }
}
