//! Asking for memory before it is looked at.

/// Items between the one that is worked on and the one whose memory is asked for.
pub(super) const AHEAD: usize = 16;

/// Asks the processor for what will soon be looked at.
#[inline]
pub(super) fn prefetch<T>(place: *const T) {
    // SAFETY: a prefetch reads nothing and never faults, whatever the address.
    unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place.cast()) };
}
