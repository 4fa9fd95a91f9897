//! What the operation of futex(2) says of itself, for the filter that lets some pass and for the stub that
//! prepares the others.

use linux_raw_sys::general as linux;

/// Operations that only read words, which the kernel does through faults that wait; they pass the filter when
/// they are private.
pub const READING: [u32; 6] = [
    linux::FUTEX_WAKE,
    linux::FUTEX_WAIT,
    linux::FUTEX_WAIT_BITSET,
    linux::FUTEX_WAKE_BITSET,
    linux::FUTEX_CMP_REQUEUE,
    linux::FUTEX_REQUEUE,
];

/// The bits of the second argument that are not the operation.
pub const OPTIONS: u32 = linux::FUTEX_PRIVATE_FLAG | linux::FUTEX_CLOCK_REALTIME;
