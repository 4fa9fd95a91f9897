//! What becomes of a call.

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Runs on the thread's own node; buffers are copied through memory of the stub. Native at home.
    Local,
    /// Executed at home: natively by a home thread, by its deputy for a thread elsewhere.
    Deputy,
    /// Done by the stub and its daemon, wherever the thread is.
    Emulate,
    /// Can only be done by a thread that is at home.
    GoHome,
    /// Refused with this errno, on which C libraries and language runtimes fall back.
    Refuse(u16),
}
