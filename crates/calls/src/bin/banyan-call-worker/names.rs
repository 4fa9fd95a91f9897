//! C's functions under further names: without locks, for long files, of programs compiled with checks, and
//! those that are another with an argument of their own.
//!
//! A check costs a program that is overrun its life. Here that is only the worker's, so none is done.

use crate::descriptors::{Polled, poll, pread, pread64, read, recv};
use crate::formats::{vdprintf, vfprintf, vfscanf};
use crate::jumps::{Buffer, longjmp};
use crate::mappings::mmap;
use crate::streams::{
    Stream, clearerr, feof, ferror, fflush, fgetc, fgets, fileno, fputc, fputs, fread, fwrite, getdelim,
    stdin, stdout, tmpfile,
};
use std::ffi::{c_char, c_int, c_ulong, c_void};

macro_rules! names {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty = $function:ident($($given:expr),*);)*) => {$(
        /// The C function of that name.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            // SAFETY: the caller's contract; the C library's streams.
            unsafe { $function($($given),*) }
        }
    )*};
}

/// C's `va_list`, where it is an argument.
type List = *mut c_void;

names! {
    getc(file: Stream) -> c_int = fgetc(file);
    _IO_getc(file: Stream) -> c_int = fgetc(file);
    getc_unlocked(file: Stream) -> c_int = fgetc(file);
    fgetc_unlocked(file: Stream) -> c_int = fgetc(file);
    getchar() -> c_int = fgetc(stdin);
    putc(byte: c_int, file: Stream) -> c_int = fputc(byte, file);
    _IO_putc(byte: c_int, file: Stream) -> c_int = fputc(byte, file);
    putc_unlocked(byte: c_int, file: Stream) -> c_int = fputc(byte, file);
    fputc_unlocked(byte: c_int, file: Stream) -> c_int = fputc(byte, file);
    putchar(byte: c_int) -> c_int = fputc(byte, stdout);
    fputs_unlocked(text: *const c_char, file: Stream) -> c_int = fputs(text, file);
    fgets_unlocked(text: *mut c_char, size: c_int, file: Stream) -> *mut c_char
        = fgets(text, size, file);
    __fgets_chk(text: *mut c_char, _room: usize, size: c_int, file: Stream) -> *mut c_char
        = fgets(text, size, file);
    fread_unlocked(data: *mut c_void, size: usize, count: usize, file: Stream) -> usize
        = fread(data, size, count, file);
    __fread_chk(data: *mut c_void, _room: usize, size: usize, count: usize, file: Stream) -> usize
        = fread(data, size, count, file);
    fwrite_unlocked(data: *const c_void, size: usize, count: usize, file: Stream) -> usize
        = fwrite(data, size, count, file);
    fflush_unlocked(file: Stream) -> c_int = fflush(file);
    feof_unlocked(file: Stream) -> c_int = feof(file);
    ferror_unlocked(file: Stream) -> c_int = ferror(file);
    fileno_unlocked(file: Stream) -> c_int = fileno(file);
    clearerr_unlocked(file: Stream) -> () = clearerr(file);
    tmpfile64() -> Stream = tmpfile();
    getline(line: *mut *mut c_char, room: *mut usize, file: Stream) -> isize
        = getdelim(line, room, c_int::from(b'\n'), file);
    __getdelim(line: *mut *mut c_char, room: *mut usize, delimiter: c_int, file: Stream) -> isize
        = getdelim(line, room, delimiter, file);
}

names! {
    vprintf(format: *const c_char, list: List) -> c_int = vfprintf(stdout, format, list);
    __vprintf_chk(_flag: c_int, format: *const c_char, list: List) -> c_int
        = vfprintf(stdout, format, list);
    __vfprintf_chk(file: Stream, _flag: c_int, format: *const c_char, list: List) -> c_int
        = vfprintf(file, format, list);
    __vdprintf_chk(file: c_int, _flag: c_int, format: *const c_char, list: List) -> c_int
        = vdprintf(file, format, list);
    __isoc99_vfscanf(file: Stream, format: *const c_char, list: List) -> c_int
        = vfscanf(file, format, list);
}

names! {
    __read_chk(file: c_int, data: *mut c_void, size: usize, _room: usize) -> isize
        = read(file, data, size);
    __pread_chk(file: c_int, data: *mut c_void, size: usize, offset: i64, _room: usize) -> isize
        = pread(file, data, size, offset);
    __pread64_chk(file: c_int, data: *mut c_void, size: usize, offset: i64, _room: usize) -> isize
        = pread64(file, data, size, offset);
    __recv_chk(file: c_int, data: *mut c_void, size: usize, _room: usize, flags: c_int) -> isize
        = recv(file, data, size, flags);
    __poll_chk(polled: *mut Polled, count: c_ulong, milliseconds: c_int, _room: usize) -> c_int
        = poll(polled, count, milliseconds);
    mmap64(address: u64, length: usize, rights: c_int, flags: c_int, descriptor: c_int, offset: i64) -> u64
        = mmap(address, length, rights, flags, descriptor, offset);
}

names! {
    _longjmp(buffer: *const Buffer, value: c_int) -> ! = longjmp(buffer, value);
    siglongjmp(buffer: *const Buffer, value: c_int) -> ! = longjmp(buffer, value);
    __longjmp_chk(buffer: *const Buffer, value: c_int) -> ! = longjmp(buffer, value);
}
