//! C's functions on `FILE`: a stream that the caller opened is used by the caller.
//!
//! The standard streams are the caller's too, so that what a library prints comes out in order
//! with what its program prints, and is not lost with a worker. Not for formats: see `formats`.

use crate::buffers::Buffers;
use crate::caller::{callers, forward, function, position};
use crate::errors::is_left_out as is_too_much;
use crate::seen::{Text, filled, shown};
use banyan_wire::address_space::CALL_WINDOWS;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};

/// Any `FILE`, or null for all.
pub(crate) type Stream = *mut c_void;

unsafe extern "C" {
    pub(crate) static stdin: Stream;
    pub(crate) static stdout: Stream;
    static stderr: Stream;
}

fn standard() -> [(Stream, u64); 3] {
    // SAFETY: the C library sets the three pointers before anything else runs.
    let own = unsafe { [stdin, stdout, stderr] };
    const THEIRS: [usize; 3] = [position(c"stdin"), position(c"stdout"), position(c"stderr")];
    [(own[0], callers(THEIRS[0])), (own[1], callers(THEIRS[1])), (own[2], callers(THEIRS[2]))]
}

/// The stream to use, and whether it is the caller's. A `FILE` in a window was allocated by a worker.
pub(crate) fn choose(file: Stream) -> (Stream, bool) {
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
    ferror(file: Stream) on file -> c_int;
    feof(file: Stream) on file -> c_int;
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
    setlinebuf(file: Stream) on file -> ();
    fclose(file: Stream) on file -> c_int;
    fflush(file: Stream) on file -> c_int;
    flockfile(file: Stream) on file -> ();
    funlockfile(file: Stream) on file -> ();
    ftrylockfile(file: Stream) on file -> c_int;
    __uflow(file: Stream) on file -> c_int;
    __overflow(file: Stream, byte: c_int) on file -> c_int;
    fputwc(character: c_uint, file: Stream) on file -> c_uint;
    putwc(character: c_uint, file: Stream) on file -> c_uint;
    fgetwc(file: Stream) on file -> c_uint;
    getwc(file: Stream) on file -> c_uint;
    ungetwc(character: c_uint, file: Stream) on file -> c_uint;
    fwide(file: Stream, mode: c_int) on file -> c_int;
}

/// Whether what a library prints on a stream is to be left out: see [`crate::errors`]. The line that says so
/// goes to the same place.
fn is_left_out(file: Stream, bytes: usize) -> bool {
    // SAFETY: the C library sets the pointer before anything else runs.
    banyan_calls::is_in_call()
        && file == unsafe { stderr }
        && is_too_much(bytes, |line| write_line(file, line))
}

fn write_line(file: Stream, line: &[u8]) {
    // SAFETY: the line is as long as it is; the stream is the C library's.
    unsafe { write_stream(line.as_ptr().cast(), 1, line.len(), file) };
}

/// C functions that open a stream: the caller does, which may be given it, if it lets the library.
macro_rules! openers {
    ($($name:ident as $c_name:literal;)*) => {$(
        /// The C function, of the caller's in a call.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> Stream {
            // SAFETY: the caller's contract; the function's type.
            unsafe {
                let open = function!($c_name, banyan_calls::is_in_call(), Open);
                open(Text::of(path).address(), Text::of(mode).address())
            }
        }
    )*};
}

type Open = unsafe extern "C" fn(*const c_char, *const c_char) -> Stream;

openers! {
    fopen as c"fopen";
    fopen64 as c"fopen64";
}

/// C's `freopen`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn freopen(path: *const c_char, mode: *const c_char, file: Stream) -> Stream {
    type Reopen = unsafe extern "C" fn(*const c_char, *const c_char, Stream) -> Stream;
    let (file, is_callers) = choose(file);
    // SAFETY: as of `openers`.
    unsafe {
        let open = function!(c"freopen", is_callers, Reopen);
        open(Text::of(path).address(), Text::of(mode).address(), file)
    }
}

/// C's `setvbuf`. A buffer that the caller does not see, or would keep when the worker has ended, is left
/// out.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setvbuf(
    file: Stream,
    buffer: *mut c_char,
    mode: c_int,
    size: usize,
) -> c_int {
    type Set = unsafe extern "C" fn(Stream, *mut c_char, c_int, usize) -> c_int;
    let (file, is_callers) = choose(file);
    let buffer = if is_callers { std::ptr::null_mut() } else { buffer };
    // SAFETY: as of `openers`.
    unsafe { function!(c"setvbuf", is_callers, Set)(file, buffer, mode, size) }
}

/// C's `setbuf`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setbuf(file: Stream, buffer: *mut c_char) {
    /// C's `BUFSIZ`.
    const BYTES: usize = 8192;
    let mode = if buffer.is_null() { libc::_IONBF } else { libc::_IOFBF };
    // SAFETY: the caller's contract.
    unsafe { setvbuf(file, buffer, mode, BYTES) };
}

/// C's `tmpfile`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn tmpfile() -> Stream {
    // SAFETY: the function's type.
    unsafe { function!(c"tmpfile", banyan_calls::is_in_call(), unsafe extern "C" fn() -> Stream)() }
}

/// C's `fgetc`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fgetc(file: Stream) -> c_int {
    let (file, is_callers) = choose(file);
    // SAFETY: the caller's contract; the function's type.
    unsafe {
        if is_callers && let Some(byte) = Buffers::of(file).byte() {
            return byte.into();
        }
        function!(c"fgetc", is_callers, unsafe extern "C" fn(Stream) -> c_int)(file)
    }
}

/// C's `fread`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fread(data: *mut c_void, size: usize, count: usize, file: Stream) -> usize {
    type Read = unsafe extern "C" fn(*mut c_void, usize, usize, Stream) -> usize;
    let (file, is_callers) = choose(file);
    let bytes = size.saturating_mul(count);
    // SAFETY: as in `fgetc`.
    unsafe {
        if is_callers && bytes > 0 && Buffers::of(file).read(data.cast(), bytes) {
            return count;
        }
        let read = function!(c"fread", is_callers, Read);
        if !is_callers {
            return read(data, size, count, file);
        }
        filled(data, bytes, |data| read(data, size, count, file), |count| count * size)
    }
}

/// C's `fgets`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fgets(text: *mut c_char, size: c_int, file: Stream) -> *mut c_char {
    type Get = unsafe extern "C" fn(*mut c_char, c_int, Stream) -> *mut c_char;
    let (file, is_callers) = choose(file);
    // SAFETY: as in `fgetc`; the end of the text has its place.
    unsafe {
        if is_callers
            && size > 1
            && let Some(count) = Buffers::of(file).line(text.cast(), size as usize - 1)
        {
            *text.add(count) = 0;
            return text;
        }
        let get = function!(c"fgets", is_callers, Get);
        if !is_callers {
            return get(text, size, file);
        }
        let room = size.max(0) as usize;
        let got = filled(text.cast(), room, |text| get(text.cast(), size, file), |_| room);
        if got.is_null() { got } else { text }
    }
}

/// C's `getdelim`. What the caller allocates for the line is copied: it could not resize the library's.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getdelim(
    line: *mut *mut c_char,
    room: *mut usize,
    delimiter: c_int,
    file: Stream,
) -> isize {
    type Get = unsafe extern "C" fn(*mut *mut c_char, *mut usize, c_int, Stream) -> isize;
    let (file, is_callers) = choose(file);
    // SAFETY: as in `fgetc`. What the caller allocated is freed there.
    unsafe {
        let get = function!(c"getdelim", is_callers, Get);
        if !is_callers {
            return get(line, room, delimiter, file);
        }
        // In the heap, which the caller sees.
        let mut result: Box<(*mut c_char, usize)> = Box::new((std::ptr::null_mut(), 0));
        let length = get(&raw mut result.0, &raw mut result.1, delimiter, file);
        let theirs = result.0;
        if length >= 0 {
            let needed = length as usize + 1;
            if (*line).is_null() || *room < needed {
                let grown = crate::heap::realloc(*line as u64, needed.max(120));
                if grown == 0 {
                    return -1;
                }
                (*line, *room) = (grown as *mut c_char, needed.max(120));
            }
            std::ptr::copy_nonoverlapping(theirs, *line, needed);
        }
        crate::heap::free(theirs as u64);
        length
    }
}

/// C's `fputc`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fputc(byte: c_int, file: Stream) -> c_int {
    if is_left_out(file, 1) {
        return (byte as u8).into();
    }
    let (file, is_callers) = choose(file);
    // SAFETY: as in `fgetc`.
    unsafe {
        if is_callers && Buffers::of(file).write(&[byte as u8]) {
            return (byte as u8).into();
        }
        function!(c"fputc", is_callers, unsafe extern "C" fn(c_int, Stream) -> c_int)(byte, file)
    }
}

/// C's `fwrite`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fwrite(
    data: *const c_void,
    size: usize,
    count: usize,
    file: Stream,
) -> usize {
    if is_left_out(file, size.saturating_mul(count)) {
        return count;
    }
    // SAFETY: the caller's contract.
    unsafe { write_stream(data, size, count, file) }
}

/// `fwrite`, however much was printed.
///
/// # Safety
/// As `fwrite`'s.
unsafe fn write_stream(data: *const c_void, size: usize, count: usize, file: Stream) -> usize {
    type Write = unsafe extern "C" fn(*const c_void, usize, usize, Stream) -> usize;
    let (file, is_callers) = choose(file);
    let bytes = size.saturating_mul(count);
    // SAFETY: as in `fgetc`.
    unsafe {
        if is_callers && bytes > 0 && Buffers::of(file).write(std::slice::from_raw_parts(data.cast(), bytes))
        {
            return count;
        }
        let write = function!(c"fwrite", is_callers, Write);
        if !is_callers {
            return write(data, size, count, file);
        }
        shown(data, bytes, |data| write(data, size, count, file))
    }
}

/// C's `fputs`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fputs(text: *const c_char, file: Stream) -> c_int {
    type Put = unsafe extern "C" fn(*const c_char, Stream) -> c_int;
    // SAFETY: the caller's contract.
    if is_left_out(file, unsafe { CStr::from_ptr(text) }.count_bytes()) {
        return 1;
    }
    let (file, is_callers) = choose(file);
    // SAFETY: as in `fgetc`.
    unsafe {
        if is_callers && Buffers::of(file).write(CStr::from_ptr(text).to_bytes()) {
            return 1;
        }
        function!(c"fputs", is_callers, Put)(Text::of(text).address(), file)
    }
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
