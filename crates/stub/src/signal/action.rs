//! A disposition as `rt_sigaction` passes it.

use linux_raw_sys::general as linux;

/// `struct sigaction` of the kernel: handler, flags, restorer, mask.
pub type Action = [u64; 4];

/// Handler word that asks for the default action.
pub const SIG_DFL: u64 = 0;
/// Handler word that asks for nothing to be done. Higher words are addresses.
pub const SIG_IGN: u64 = 1;

pub(super) const SA_ONSTACK: u64 = linux::SA_ONSTACK as u64;
pub(super) const SA_SIGINFO: u64 = linux::SA_SIGINFO as u64;
pub(super) const SA_RESTORER: u64 = linux::SA_RESTORER as u64;
pub(super) const SA_NODEFER: u64 = linux::SA_NODEFER as u64;
pub(super) const SA_RESETHAND: u64 = linux::SA_RESETHAND as u64;
