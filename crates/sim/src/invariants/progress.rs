//! A thread that waits is woken at last: when nothing is under way any more, no thread waits.

use super::Violation;

/// The violation that this thread waits for ever.
#[must_use]
pub fn stuck(found: String) -> Violation {
    Violation { invariant: "progress", found }
}
