//! A thread that waits is some day woken: when nothing is under way any more, nobody waits.

use super::Violation;

/// The violation that this thread waits for ever.
#[must_use]
pub fn stuck(found: String) -> Violation {
    Violation { invariant: "progress", found }
}
