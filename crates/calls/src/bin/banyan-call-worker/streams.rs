//! C's functions on `FILE`: a stream that the caller opened is used by the caller.
//!
//! The standard streams are the caller's too, so that what a library prints comes out in order
//! with what its program prints, and is not lost with a worker. The formatting functions take any
//! number of arguments, which Rust cannot define: a few instructions turn them into a list.

use banyan_wire::address_space::CALL_WINDOWS;

use crate::caller::{callers, forward, position};
use std::arch::global_asm;
use std::ffi::{c_char, c_int, c_long, c_void};

/// Any `FILE`, or null for all.
type Stream = *mut c_void;

unsafe extern "C" {
    static stdin: Stream;
    static stdout: Stream;
    static stderr: Stream;
}

fn standard() -> [(Stream, u64); 3] {
    // SAFETY: the C library sets the three pointers before anything else runs.
    let own = unsafe { [stdin, stdout, stderr] };
    const THEIRS: [usize; 3] = [position(c"stdin"), position(c"stdout"), position(c"stderr")];
    [(own[0], callers(THEIRS[0])), (own[1], callers(THEIRS[1])), (own[2], callers(THEIRS[2]))]
}

/// The stream to use, and whether it is the caller's. A `FILE` in a window was allocated by a worker.
fn choose(file: Stream) -> (Stream, bool) {
    let standard = standard();
    if !banyan_calls::is_in_call() {
        return (file, false);
    }
    if let Some((_, theirs)) = standard.iter().find(|(own, _)| *own == file) {
        // The caller told the address of its variable: what that holds now is its stream.
        // SAFETY: a variable of the caller, fetched when it is read.
        return if *theirs == 0 { (file, false) } else { (unsafe { *(*theirs as *const Stream) }, true) };
    }
    (file, !file.is_null() && !CALL_WINDOWS.contains(file as u64))
}

forward! { choose;
    fwrite(data: *const c_void, size: usize, count: usize, file: Stream) on file -> usize;
    fread(data: *mut c_void, size: usize, count: usize, file: Stream) on file -> usize;
    fputc(byte: c_int, file: Stream) on file -> c_int;
    putc(byte: c_int, file: Stream) on file -> c_int;
    fputs(text: *const c_char, file: Stream) on file -> c_int;
    ferror(file: Stream) on file -> c_int;
    feof(file: Stream) on file -> c_int;
    getc(file: Stream) on file -> c_int;
    fgetc(file: Stream) on file -> c_int;
    fgets(text: *mut c_char, size: c_int, file: Stream) on file -> *mut c_char;
    ungetc(byte: c_int, file: Stream) on file -> c_int;
    fseek(file: Stream, offset: c_long, whence: c_int) on file -> c_int;
    fseeko(file: Stream, offset: i64, whence: c_int) on file -> c_int;
    fseeko64(file: Stream, offset: i64, whence: c_int) on file -> c_int;
    ftell(file: Stream) on file -> c_long;
    ftello(file: Stream) on file -> i64;
    ftello64(file: Stream) on file -> i64;
    rewind(file: Stream) on file -> ();
    fileno(file: Stream) on file -> c_int;
    clearerr(file: Stream) on file -> ();
    setvbuf(file: Stream, buffer: *mut c_char, mode: c_int, size: usize) on file -> c_int;
    fclose(file: Stream) on file -> c_int;
    fflush(file: Stream) on file -> c_int;
    vfprintf(file: Stream, format: *const c_char, list: *mut c_void) on file -> c_int;
    vfscanf(file: Stream, format: *const c_char, list: *mut c_void) on file -> c_int;
}

/// C's `puts`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn puts(text: *const c_char) -> c_int {
    // SAFETY: the caller's contract; the C library's stream.
    unsafe { if fputs(text, stdout) < 0 { -1 } else { fputc(c_int::from(b'\n'), stdout) } }
}

/// C's `putchar`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn putchar(byte: c_int) -> c_int {
    // SAFETY: the C library's stream.
    unsafe { fputc(byte, stdout) }
}

/// C's `vprintf`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn vprintf(format: *const c_char, list: *mut c_void) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { vfprintf(stdout, format, list) }
}

/// `vfprintf` of programs compiled with checks, which the sandbox makes needless.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __vfprintf_chk(
    file: Stream,
    _: c_int,
    format: *const c_char,
    list: *mut c_void,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { vfprintf(file, format, list) }
}

/// `vprintf` of programs compiled with checks.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __vprintf_chk(_: c_int, format: *const c_char, list: *mut c_void) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { vfprintf(stdout, format, list) }
}

/// `vfscanf` of the C standard of 1999.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __isoc99_vfscanf(
    file: Stream,
    format: *const c_char,
    list: *mut c_void,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { vfscanf(file, format, list) }
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
    "banyan_variadic fscanf, vfscanf, 16, rdx",
    "banyan_variadic __isoc99_fscanf, __isoc99_vfscanf, 16, rdx",
);

unsafe extern "C" {
    fn printf();
    fn __printf_chk();
    fn fprintf();
    fn __fprintf_chk();
    fn fscanf();
    fn __isoc99_fscanf();
}

/// Keeps the functions above in the program: nothing in it calls them.
#[used]
static VARIADIC: [unsafe extern "C" fn(); 6] =
    [printf, __printf_chk, fprintf, __fprintf_chk, fscanf, __isoc99_fscanf];
