//! Copies between the stub's buffers and the program's memory, which may fail or wait like any access of the program.
//!
//! The only instructions of the stub that touch program memory are here.

use banyan_sys::raw::Errno;
use banyan_wire::address_space::is_program_memory;
use banyan_wire::ids::PAGE_BYTES;
use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

// The one place where the stub's own instructions touch program memory. A SIGSEGV or SIGBUS at `..._access` is
// sent to `..._failed` by the fault handler; userfaultfd faults just wait.
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
);

unsafe extern "C" {
    static banyan_copy_access: u8;
    static banyan_copy_failed: u8;
    static banyan_probe_access: u8;
    static banyan_probe_failed: u8;
}

/// Where the handler of memory faults continues if the interrupted instruction is a copy's or a probe's.
pub fn fault_continuation(instruction: u64) -> Option<u64> {
    if instruction == &raw const banyan_copy_access as u64 {
        Some(&raw const banyan_copy_failed as u64)
    } else if instruction == &raw const banyan_probe_access as u64 {
        Some(&raw const banyan_probe_failed as u64)
    } else {
        None
    }
}

/// Finds out whether a byte of program memory can be written, without changing it.
///
/// # Errors
/// `EFAULT` if it cannot.
pub fn probe_writable(at: u64) -> Result<(), Errno> {
    if !is_program_memory(at) {
        return Err(Errno::EFAULT);
    }
    let failed: u64;
    // SAFETY: an atomic or with zero changes nothing; a bad address ends it through the fault handler.
    unsafe { asm!("call banyan_probe", in("rdi") at, lateout("rax") failed, lateout("rcx") _) };
    if failed == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies bytes, one side of which is program memory. Returns how many were *not* copied because of a fault.
pub(super) fn copy(to: u64, from: u64, length: usize) -> u64 {
    let left: u64;
    // SAFETY: the callers give one side that is the stub's own buffer of that length; the other side is program
    // memory, no Rust object, and a bad address ends the copy through the fault handler.
    unsafe {
        asm!(
            "call banyan_copy",
            in("rdi") to, in("rsi") from, in("rdx") length,
            lateout("rax") left, lateout("rcx") _, lateout("rdi") _, lateout("rsi") _,
        );
    }
    left
}

/// Copies from program memory into a buffer of the stub.
///
/// # Errors
/// `EFAULT` if the program has no readable memory there.
pub fn copy_in(from: u64, to: *mut u8, length: usize) -> Result<(), Errno> {
    if length != 0 && !is_program_memory(from) {
        return Err(Errno::EFAULT);
    }
    if copy(to as u64, from, length) == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies from a buffer of the stub into program memory.
///
/// # Errors
/// `EFAULT` if the program has no writable memory there.
pub fn copy_out(to: u64, from: *const u8, length: usize) -> Result<(), Errno> {
    if length != 0 && !is_program_memory(to) {
        return Err(Errno::EFAULT);
    }
    if copy(to, from as u64, length) == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies a string that ends with zero; returns its length with the zero.
///
/// # Errors
/// `EFAULT`; `ENAMETOOLONG` if there is no zero in `room` bytes.
///
/// # Safety
/// `to` points to `room` bytes of the stub that nobody else uses.
pub unsafe fn copy_string_in(from: u64, to: *mut u8, room: usize) -> Result<usize, Errno> {
    let mut done = 0;
    while done < room {
        let at = from.wrapping_add(done as u64);
        let piece = (PAGE_BYTES - at % PAGE_BYTES).min((room - done) as u64) as usize;
        copy_in(at, to.wrapping_add(done), piece)?;
        for index in done..done + piece {
            // SAFETY: the copy above filled the buffer up to here.
            if unsafe { to.add(index).read() } == 0 {
                return Ok(index + 1);
            }
        }
        done += piece;
    }
    Err(Errno::ENAMETOOLONG)
}

/// Stores an aligned word of program memory, in one piece: other threads may be waiting on it.
///
/// # Errors
/// `EFAULT`.
pub fn store_u32(to: u64, value: u32) -> Result<(), Errno> {
    let mut probe = 0_u32;
    if !to.is_multiple_of(4) {
        return copy_out(to, (&raw const value).cast(), 4);
    }
    copy_in(to, (&raw mut probe).cast(), 4)?;
    // SAFETY: the word is aligned and was readable just now; the program gave it to be written by the kernel.
    // Atomics are how program memory may be touched.
    unsafe { core::sync::atomic::AtomicU32::from_ptr(to as *mut u32) }.store(value, Ordering::Release);
    Ok(())
}

/// Loads a word of program memory.
///
/// # Errors
/// `EFAULT`.
pub fn load_u64(from: u64) -> Result<u64, Errno> {
    let mut value = 0_u64;
    copy_in(from, (&raw mut value).cast(), 8)?;
    Ok(value)
}

/// Compares and exchanges a word of program memory; returns what was there.
///
/// # Errors
/// `EFAULT` if the word is unaligned or outside program memory.
pub fn exchange_u32(at: u64, expected: u32, new: u32) -> Result<u32, Errno> {
    let mut probe = 0_u32;
    if !at.is_multiple_of(4) {
        return Err(Errno::EFAULT);
    }
    copy_in(at, (&raw mut probe).cast(), 4)?;
    // SAFETY: the word is aligned and was readable just now; it belongs to a lock that a live thread of the
    // program shares, so it stays mapped. Atomics are how program memory may be touched.
    let word = unsafe { core::sync::atomic::AtomicU32::from_ptr(at as *mut u32) };
    Ok(match word.compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(old) | Err(old) => old,
    })
}
