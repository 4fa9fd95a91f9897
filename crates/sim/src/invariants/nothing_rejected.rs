//! Nodes that work never send what another has to reject, and never find that they contradict themselves.

use super::Violation;

pub(crate) fn broken(found: String) -> Violation {
    Violation { invariant: "nothing_rejected", found }
}
