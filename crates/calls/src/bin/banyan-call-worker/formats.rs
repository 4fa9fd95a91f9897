//! C's functions that print and read by a format.
//!
//! The text is made here, where the arguments are, and printed as any other. Functions that take any number
//! of arguments cannot be defined in Rust: a few instructions turn these into a list.

use crate::caller::function;
use crate::descriptors::write;
use crate::seen::Text;
use crate::streams::{Stream, choose, fwrite};
use std::arch::global_asm;
use std::ffi::{c_char, c_int, c_void};

unsafe extern "C" {
    fn vsnprintf(text: *mut c_char, room: usize, format: *const c_char, list: *mut c_void) -> c_int;
}

/// Bytes of most texts that are printed.
const PRINTED: usize = 512;

/// Puts the text of a format and its list to `then`; what that gives, -1 if there is no text.
///
/// # Safety
/// The list must be right for the format.
unsafe fn with_text(
    format: *const c_char,
    list: *mut c_void,
    then: impl FnOnce(*const c_void, usize) -> c_int,
) -> c_int {
    // SAFETY: a `va_list` has three words; the first copy is used up by the first attempt.
    unsafe {
        let mut again = list.cast::<[u64; 3]>().read();
        let mut short = [0_u8; PRINTED];
        let length = vsnprintf(short.as_mut_ptr().cast(), PRINTED, format, list);
        if length < 0 {
            return -1;
        }
        if (length as usize) < PRINTED {
            return then(short.as_ptr().cast(), length as usize);
        }
        let mut long = vec![0_u8; length as usize + 1];
        vsnprintf(long.as_mut_ptr().cast(), long.len(), format, (&raw mut again).cast());
        then(long.as_ptr().cast(), length as usize)
    }
}

/// C's `vfprintf`. The text is made here, where its arguments are.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vfprintf(file: Stream, format: *const c_char, list: *mut c_void) -> c_int {
    type Print = unsafe extern "C" fn(Stream, *const c_char, *mut c_void) -> c_int;
    let (_, is_callers) = choose(file);
    // SAFETY: the caller's contract.
    unsafe {
        if !is_callers {
            return function!(c"vfprintf", false, Print)(file, format, list);
        }
        with_text(format, list, |text, length| {
            if length == 0 || fwrite(text, 1, length, file) == length { length as c_int } else { -1 }
        })
    }
}

/// C's `vdprintf`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vdprintf(file: c_int, format: *const c_char, list: *mut c_void) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { with_text(format, list, |text, length| write(file, text, length) as c_int) }
}

/// C's `vfscanf`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vfscanf(file: Stream, format: *const c_char, list: *mut c_void) -> c_int {
    type Scan = unsafe extern "C" fn(Stream, *const c_char, *mut c_void) -> c_int;
    let (file, is_callers) = choose(file);
    // SAFETY: as of `openers`.
    unsafe { function!(c"vfscanf", is_callers, Scan)(file, Text::of(format).address(), list) }
}

// Each saves the argument registers where a `va_list` has them, and passes the list on: bytes of
// registers that named arguments took, 48, the arguments on the stack, the saved registers.
global_asm!(
    ".macro banyan_variadic name, target, taken, list",
    ".globl \\name",
    ".type \\name, @function",
    "\\name:",
    "endbr64",
    "push rbp",
    "mov rbp, rsp",
    "sub rsp, 208",
    "mov [rsp + 32], rdi",
    "mov [rsp + 40], rsi",
    "mov [rsp + 48], rdx",
    "mov [rsp + 56], rcx",
    "mov [rsp + 64], r8",
    "mov [rsp + 72], r9",
    "movaps [rsp + 80], xmm0",
    "movaps [rsp + 96], xmm1",
    "movaps [rsp + 112], xmm2",
    "movaps [rsp + 128], xmm3",
    "movaps [rsp + 144], xmm4",
    "movaps [rsp + 160], xmm5",
    "movaps [rsp + 176], xmm6",
    "movaps [rsp + 192], xmm7",
    "mov dword ptr [rsp], \\taken",
    "mov dword ptr [rsp + 4], 48",
    "lea rax, [rbp + 16]",
    "mov [rsp + 8], rax",
    "lea rax, [rsp + 32]",
    "mov [rsp + 16], rax",
    "mov \\list, rsp",
    "call \\target",
    "leave",
    "ret",
    ".size \\name, . - \\name",
    ".endm",
    "banyan_variadic printf, vprintf, 8, rsi",
    "banyan_variadic __printf_chk, __vprintf_chk, 16, rdx",
    "banyan_variadic fprintf, vfprintf, 16, rdx",
    "banyan_variadic __fprintf_chk, __vfprintf_chk, 24, rcx",
    "banyan_variadic dprintf, vdprintf, 16, rdx",
    "banyan_variadic __dprintf_chk, __vdprintf_chk, 24, rcx",
    "banyan_variadic fscanf, vfscanf, 16, rdx",
    "banyan_variadic __isoc99_fscanf, __isoc99_vfscanf, 16, rdx",
);

unsafe extern "C" {
    fn printf();
    fn __printf_chk();
    fn fprintf();
    fn __fprintf_chk();
    fn dprintf();
    fn __dprintf_chk();
    fn fscanf();
    fn __isoc99_fscanf();
}

/// Keeps the functions above in the program: nothing in it calls them.
#[used]
static VARIADIC: [unsafe extern "C" fn(); 8] =
    [printf, __printf_chk, fprintf, __fprintf_chk, dprintf, __dprintf_chk, fscanf, __isoc99_fscanf];
