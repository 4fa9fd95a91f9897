//! Copies between the stub's buffers and the program's memory, which may fail or wait like any access of the
//! program.
//!
//! The only instructions of the stub that touch program memory are here.

use banyan_sys::raw::Errno;
use banyan_wire::address_space::may_map;
use banyan_wire::ids::PAGE_BYTES;
use core::arch::{asm, global_asm};
use zerocopy::{FromBytes, Immutable, IntoBytes};

// The one place where the stub's own instructions touch program memory. A SIGSEGV or SIGBUS at `..._access`
// is sent to `..._failed` by the fault handler; userfaultfd faults just wait.
global_asm!(
    ".globl banyan_copy_access",
    ".globl banyan_copy_failed",
    "banyan_copy:",
    "mov rcx, rdx",
    "banyan_copy_access:",
    "rep movsb",
    "banyan_copy_failed:",
    "mov rax, rcx",
    "ret",
    ".globl banyan_probe_access",
    ".globl banyan_probe_failed",
    "banyan_probe:",
    "mov rcx, 1",
    "banyan_probe_access:",
    "lock or byte ptr [rdi], 0",
    "xor ecx, ecx",
    "banyan_probe_failed:",
    "mov rax, rcx",
    "ret",
    ".globl banyan_store_access",
    ".globl banyan_store_failed",
    "banyan_store:",
    "mov rcx, 1",
    "banyan_store_access:",
    "mov dword ptr [rdi], esi",
    "xor ecx, ecx",
    "banyan_store_failed:",
    "ret",
    ".globl banyan_exchange_access",
    ".globl banyan_exchange_failed",
    "banyan_exchange:",
    "mov rcx, 1",
    "banyan_exchange_access:",
    "lock cmpxchg dword ptr [rdi], esi",
    "mov ecx, 0",
    "banyan_exchange_failed:",
    "ret",
);

unsafe extern "C" {
    static banyan_copy_access: u8;
    static banyan_copy_failed: u8;
    static banyan_probe_access: u8;
    static banyan_probe_failed: u8;
    static banyan_store_access: u8;
    static banyan_store_failed: u8;
    static banyan_exchange_access: u8;
    static banyan_exchange_failed: u8;
}

/// Where the handler of memory faults continues if the interrupted instruction is one of those above.
pub fn fault_continuation(instruction: u64) -> Option<u64> {
    let continuations = [
        (&raw const banyan_copy_access, &raw const banyan_copy_failed),
        (&raw const banyan_probe_access, &raw const banyan_probe_failed),
        (&raw const banyan_store_access, &raw const banyan_store_failed),
        (&raw const banyan_exchange_access, &raw const banyan_exchange_failed),
    ];
    continuations.iter().find(|(access, _)| *access as u64 == instruction).map(|&(_, failed)| failed as u64)
}

/// An address that the program named. Nothing is known of it until it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramAddress(pub u64);

impl ProgramAddress {
    /// The address this many bytes further on. It wraps, as the program's own sums would.
    #[must_use]
    pub const fn add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// `EFAULT` unless all bytes from here on are where only the program has memory. So no copy can reach the
    /// stub's.
    fn check(self, length: usize) -> Result<(), Errno> {
        if length == 0 || may_map(self.0, length as u64) { Ok(()) } else { Err(Errno::EFAULT) }
    }
}

/// Finds out whether a byte of program memory can be written, without changing it.
///
/// # Errors
/// `EFAULT` if it cannot.
pub fn probe_writable(at: ProgramAddress) -> Result<(), Errno> {
    at.check(1)?;
    let failed: u64;
    // SAFETY: the byte is not the stub's; an atomic or with zero changes nothing, and a bad address ends it
    // through the fault handler.
    unsafe { asm!("call banyan_probe", in("rdi") at.0, lateout("rax") failed, lateout("rcx") _) };
    if failed == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies bytes, one side of which at least is program memory.
///
/// # Safety
/// A side that is not program memory must be a buffer of the stub with that length, to be written if it is
/// `to`.
unsafe fn copy(to: u64, from: u64, length: usize) -> Result<(), Errno> {
    let left: u64;
    // SAFETY: the stub's side is the caller's promise; program memory is no Rust object, and a bad address
    // ends the copy through the fault handler.
    unsafe {
        asm!(
            "call banyan_copy",
            in("rdi") to, in("rsi") from, in("rdx") length,
            lateout("rax") left, lateout("rcx") _, lateout("rdi") _, lateout("rsi") _,
        );
    }
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies from program memory into a buffer of the stub.
///
/// # Errors
/// `EFAULT` if the program has no readable memory there; the buffer may then be filled in part.
pub fn copy_in(from: ProgramAddress, to: &mut [u8]) -> Result<(), Errno> {
    from.check(to.len())?;
    // SAFETY: `to` is a buffer of that length.
    unsafe { copy(to.as_mut_ptr() as u64, from.0, to.len()) }
}

/// Copies from a buffer of the stub into program memory.
///
/// # Errors
/// `EFAULT` if the program has no writable memory there; it may then be written in part.
pub fn copy_out(to: ProgramAddress, from: &[u8]) -> Result<(), Errno> {
    to.check(from.len())?;
    // SAFETY: `from` is a buffer of that length.
    unsafe { copy(to.0, from.as_ptr() as u64, from.len()) }
}

/// Copies within program memory; the ranges do not overlap.
///
/// # Errors
/// `EFAULT` if the program has no memory there.
pub fn copy_within(to: ProgramAddress, from: ProgramAddress, length: usize) -> Result<(), Errno> {
    to.check(length)?;
    from.check(length)?;
    // SAFETY: neither side is the stub's.
    unsafe { copy(to.0, from.0, length) }
}

/// Copies a string that ends with zero; returns its length with the zero.
///
/// # Errors
/// `EFAULT`; `ENAMETOOLONG` if it does not fit into the buffer.
pub fn copy_string_in(from: ProgramAddress, to: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < to.len() {
        let at = from.add(done as u64);
        let piece = (PAGE_BYTES - at.0 % PAGE_BYTES).min((to.len() - done) as u64) as usize;
        let piece = &mut to[done..done + piece];
        copy_in(at, piece)?;
        if let Some(zero) = piece.iter().position(|&byte| byte == 0) {
            return Ok(done + zero + 1);
        }
        done += piece.len();
    }
    Err(Errno::ENAMETOOLONG)
}

/// Loads a value from program memory.
///
/// # Errors
/// `EFAULT`.
pub fn load<T: FromBytes + IntoBytes>(from: ProgramAddress) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    copy_in(from, value.as_mut_bytes())?;
    Ok(value)
}

/// Stores a value into program memory.
///
/// # Errors
/// `EFAULT`.
pub fn store<T: IntoBytes + Immutable>(to: ProgramAddress, value: &T) -> Result<(), Errno> {
    copy_out(to, value.as_bytes())
}

/// Stores an aligned word of program memory, in one piece: other threads may be waiting on it.
///
/// # Errors
/// `EFAULT`.
pub fn store_u32(to: ProgramAddress, value: u32) -> Result<(), Errno> {
    to.check(4)?;
    let failed: u64;
    // SAFETY: the word is not the stub's; the program gave it to be written by the kernel, and a bad address
    // ends the store through the fault handler.
    unsafe { asm!("call banyan_store", in("rdi") to.0, in("esi") value, lateout("rcx") failed) };
    if failed == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Compares and exchanges a word of program memory; returns what was there.
///
/// # Errors
/// `EFAULT` if the word is unaligned, or not the program's to write.
pub fn exchange_u32(at: ProgramAddress, expected: u32, new: u32) -> Result<u32, Errno> {
    at.check(4)?;
    if !at.0.is_multiple_of(4) {
        return Err(Errno::EFAULT);
    }
    let (failed, old): (u64, u32);
    // SAFETY: the word is not the stub's; it belongs to a lock of the program, and a bad address ends the
    // exchange through the fault handler.
    unsafe {
        asm!(
            "call banyan_exchange",
            in("rdi") at.0, in("esi") new, inlateout("eax") expected => old, lateout("rcx") failed,
        );
    }
    if failed == 0 { Ok(old) } else { Err(Errno::EFAULT) }
}
