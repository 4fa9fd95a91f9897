//! What the bench times calls against: the floors of this machine, and a call without anything to do.
//!
//! Not a part of the interface: it follows the needs of the bench.

pub use crate::frame::{NULL_FUNCTION, Registers, Shape};
pub use crate::sys::channel::ticks_per_us;
pub use crate::sys::channel::{
    Processors, counter, current_processor, futex_wait, futex_wake, place_thread, process_cpu_ns, thread_id,
};
pub use crate::sys::process::{become_child_of, end_now, fork};
pub use crate::sys::registers::invoke;
