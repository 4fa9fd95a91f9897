//! The process that hosts an isolated C library.
//!
//! Its `malloc` is the crate's, so that the caller sees what the library allocates; its functions
//! on `FILE` send files that the caller opened back to the caller. Not to be run by hand.

use banyan_calls::heap::{allocate, release, resize, usable};
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// C's `malloc`.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> u64 {
    allocate(size as u64, 16).0
}

/// C's `calloc`.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> u64 {
    let Some(bytes) = count.checked_mul(size) else { return 0 };
    let (address, fresh) = allocate(bytes as u64, 16);
    if address != 0 && !fresh {
        // SAFETY: `bytes` bytes at the address were just allocated.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
    }
    address
}

/// C's `realloc`.
#[unsafe(no_mangle)]
pub extern "C" fn realloc(address: u64, size: usize) -> u64 {
    if size == 0 && address != 0 {
        release(address);
        return 0;
    }
    resize(address, size as u64)
}

/// C's `reallocarray`.
#[unsafe(no_mangle)]
pub extern "C" fn reallocarray(address: u64, count: usize, size: usize) -> u64 {
    count.checked_mul(size).map_or(0, |bytes| resize(address, bytes as u64))
}

/// C's `free`.
#[unsafe(no_mangle)]
pub extern "C" fn free(address: u64) {
    release(address);
}

/// C's `aligned_alloc`.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(alignment: usize, size: usize) -> u64 {
    if alignment.is_power_of_two() { allocate(size as u64, alignment as u64).0 } else { 0 }
}

/// C's `memalign`.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(alignment: usize, size: usize) -> u64 {
    aligned_alloc(alignment, size)
}

/// C's `posix_memalign`.
#[unsafe(no_mangle)]
pub extern "C" fn posix_memalign(result: &mut u64, alignment: usize, size: usize) -> c_int {
    let address = aligned_alloc(alignment, size);
    if address == 0 {
        return libc::ENOMEM;
    }
    *result = address;
    0
}

/// C's `valloc`.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> u64 {
    allocate(size as u64, 4096).0
}

/// C's `malloc_usable_size`.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_usable_size(address: u64) -> usize {
    if address == 0 { 0 } else { usable(address) as usize }
}

/// Addresses of the caller's functions on `FILE`, then of this process's own, by position in the list.
static CALLER: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];
static OWN: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];

fn learn_stdio(functions: &[(String, u64)]) {
    for (name, address) in functions {
        if let Some(position) = banyan_calls::STDIO_FUNCTIONS.iter().position(|known| known == name) {
            CALLER[position].store(*address, Relaxed);
        }
    }
}

/// The function of that name to use for `file`: the caller's if the file is the caller's.
fn choose(name: &CStr, file: *mut c_void) -> u64 {
    let Some(position) =
        banyan_calls::STDIO_FUNCTIONS.iter().position(|known| known.as_bytes() == name.to_bytes())
    else {
        return 0;
    };
    let own = match OWN[position].load(Relaxed) {
        0 => {
            // SAFETY: looks up the C library's function behind ours.
            let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as u64;
            OWN[position].store(address, Relaxed);
            address
        }
        address => address,
    };
    let caller = CALLER[position].load(Relaxed);
    if caller == 0 || is_own(file as u64) { own } else { caller }
}

/// Whether a `FILE` belongs to this process: its standard streams, or opened on its heap.
fn is_own(file: u64) -> bool {
    unsafe extern "C" {
        static stdin: *mut c_void;
        static stdout: *mut c_void;
        static stderr: *mut c_void;
    }
    // SAFETY: the C library sets the three pointers before anything else runs.
    let standard = unsafe { [stdin as u64, stdout as u64, stderr as u64] };
    standard.contains(&file) || (0x0800_0000_0000..0x1000_0000_0000).contains(&file)
}

macro_rules! forward {
    ($($name:ident ($($argument:ident: $kind:ty),*) on $file:ident -> $result:ty;)*) => {$(
        /// The C function, for files of this process and of the caller.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name has no zero byte"),
            };
            let address = choose(NAME, $file);
            // SAFETY: both candidates are functions of this name and so of this signature. A jump
            // to the caller's is turned into a call-back by the fault handler.
            unsafe {
                let function: unsafe extern "C" fn($($kind),*) -> $result = std::mem::transmute(address as *const ());
                function($($argument),*)
            }
        }
    )*};
}

forward! {
    fwrite(data: *const c_void, size: usize, count: usize, file: *mut c_void) on file -> usize;
    fread(data: *mut c_void, size: usize, count: usize, file: *mut c_void) on file -> usize;
    fputc(byte: c_int, file: *mut c_void) on file -> c_int;
    putc(byte: c_int, file: *mut c_void) on file -> c_int;
    fputs(text: *const c_char, file: *mut c_void) on file -> c_int;
    ferror(file: *mut c_void) on file -> c_int;
    feof(file: *mut c_void) on file -> c_int;
    getc(file: *mut c_void) on file -> c_int;
    fgetc(file: *mut c_void) on file -> c_int;
    fgets(text: *mut c_char, size: c_int, file: *mut c_void) on file -> *mut c_char;
    ungetc(byte: c_int, file: *mut c_void) on file -> c_int;
    fseek(file: *mut c_void, offset: c_long, whence: c_int) on file -> c_int;
    ftell(file: *mut c_void) on file -> c_long;
    rewind(file: *mut c_void) on file -> ();
    fileno(file: *mut c_void) on file -> c_int;
    clearerr(file: *mut c_void) on file -> ();
    vfprintf(file: *mut c_void, format: *const c_char, list: *mut c_void) on file -> c_int;
}

fn main() {
    banyan_calls::host_library(learn_stdio);
    eprintln!("banyan-call-worker hosts a library for the process that starts it; use `banyan call`");
    std::process::exit(2);
}
