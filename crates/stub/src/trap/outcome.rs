//! How a trapped call ends.

/// What the trap does next.
pub enum Outcome {
    /// The program gets this result.
    Result(i64),
    /// The program continues from its context, which was changed: it makes the call again, or it returned
    /// from a handler.
    Continue,
}
