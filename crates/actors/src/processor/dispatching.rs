//! Whether this thread is inside an event: nothing that waits, or that would run another actor, may be done
//! there.

use std::cell::Cell;

thread_local! {
    /// Whether this thread is inside an event.
    static DISPATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Stops the process if this thread is inside an event: a dispatch in a dispatch would let an actor run
/// another.
pub(crate) fn assert_outside_of_events() {
    assert!(
        !DISPATCHING.get(),
        "an event cannot dispatch another, nor wait: ask the host, or send a message"
    );
}

/// Does something as an event. A panic of an actor is caught inside.
#[inline]
pub(super) fn inside<R>(event: impl FnOnce() -> R) -> R {
    DISPATCHING.set(true);
    let result = event();
    DISPATCHING.set(false);
    result
}
