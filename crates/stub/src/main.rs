//! The image of the stub: entry point, panic, and the memory functions that the compiler calls.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

// The kernel enters with the stack pointer at argc; the ABI wants it aligned before a call.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

/// `stack` is where the kernel put the arguments.
extern "C" fn start(stack: *const u64) -> ! {
    // SAFETY: `_start` passes the stack pointer that the kernel set.
    let words = unsafe {
        banyan_stub::time::vdso::find_kernels(stack);
        banyan_stub::process::layout::words(stack)
    };
    banyan_stub::start::start(words)
}

// In the one function of the core library that calls it: then what would be formatted is dead, and with it
// the code that formats, 1.3 KB of the image.
#[panic_handler]
#[inline(always)]
#[expect(unused_attributes, reason = "the compiler says that it ignores it, and does not")]
fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
    let line = information.location().map_or(0, core::panic::Location::line);
    let file = information.location().map_or("?", core::panic::Location::file);
    let line = banyan_stub::report::Decimal::new(u64::from(line));
    banyan_stub::report::fail_with("the stub stopped at ", &[file.as_bytes(), b":", line.text()])
}

// The precompiled core library refers to it; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: no byte is overwritten before it is read when copying upward.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller's promise; copies downward from the last byte and clears the direction flag again.
    unsafe {
        asm!("std", "rep movsb", "cld",
            inout("rcx") count => _,
            inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _,
            options(nostack));
    }
    to
}

/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: within the caller's buffers.
        let (x, y) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: passed on.
    unsafe { memcmp(a, b, count) }
}
