//! Whether this thread is inside an event: nothing that waits, or that would run another actor, may be done
//! there.

use std::cell::Cell;

thread_local! {
    /// Whether this thread is inside an event.
    static DISPATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside an event.
#[cfg(feature = "wasm")]
pub(crate) fn is_inside_event() -> bool {
    DISPATCHING.get()
}

/// Stops the process if this thread is inside an event: a dispatch in a dispatch would let an actor run
/// another.
pub(crate) fn assert_outside_of_events() {
    assert!(
        !DISPATCHING.get(),
        "an event cannot dispatch another, nor wait: ask the host, or send a message"
    );
}

/// This thread is inside an event while this lives. A panic of an actor is caught before it ends.
pub(super) struct Inside(());

/// Begins an event. Not a function around it: what the event returns would be copied on its way out, in wider
/// pieces than it was just written in, for which the processor waits.
#[inline]
pub(super) fn enter() -> Inside {
    DISPATCHING.set(true);
    Inside(())
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        DISPATCHING.set(false);
    }
}
