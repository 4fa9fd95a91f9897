//! C's functions on what a process has one of: its number, environment, random numbers and signals.
//!
//! The library is a part of its caller's program: that is the process it asks about and changes. But a signal
//! that would end the program ends its worker. Not for masks of signals, and not for children.

use crate::caller::{address, c_name, callers, function, position};
use crate::seen::Text;
use std::ffi::{CStr, CString, c_char, c_double, c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// Defines C functions that run at the caller while it waits for a call.
macro_rules! callers_own {
    ($($name:ident ($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {$(
        /// The C function, of the caller's process.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            // SAFETY: both candidates are functions of this name and so of this signature.
            unsafe {
                let function = function!(
                    c_name(concat!(stringify!($name), "\0")),
                    banyan_calls::is_in_call(),
                    unsafe extern "C" fn($($kind),*) -> $result
                );
                function($($argument),*)
            }
        }
    )*};
}

callers_own! {
    clearenv() -> c_int;
    rand() -> c_int;
    srand(seed: c_uint) -> ();
    random() -> c_long;
    srandom(seed: c_uint) -> ();
    drand48() -> c_double;
    lrand48() -> c_long;
    mrand48() -> c_long;
    srand48(seed: c_long) -> ();
}

/// C's `getenv`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
    type Get = unsafe extern "C" fn(*const c_char) -> *mut c_char;
    // SAFETY: the caller's contract; the function's type.
    unsafe { function!(c"getenv", banyan_calls::is_in_call(), Get)(Text::of(name).address()) }
}

/// C's `setenv`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setenv(name: *const c_char, value: *const c_char, overwrite: c_int) -> c_int {
    type Set = unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int;
    // SAFETY: as in `getenv`.
    unsafe {
        function!(c"setenv", banyan_calls::is_in_call(), Set)(
            Text::of(name).address(),
            Text::of(value).address(),
            overwrite,
        )
    }
}

/// C's `unsetenv`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn unsetenv(name: *const c_char) -> c_int {
    type Unset = unsafe extern "C" fn(*const c_char) -> c_int;
    // SAFETY: as in `getenv`.
    unsafe { function!(c"unsetenv", banyan_calls::is_in_call(), Unset)(Text::of(name).address()) }
}

/// C's `putenv`. The text becomes a part of the environment, which outlives this worker: it is copied.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn putenv(text: *const c_char) -> c_int {
    // SAFETY: the caller's contract.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    let name = bytes.split(|&byte| byte == b'=').next().unwrap_or_default();
    let Ok(name) = CString::new(name) else { return -1 };
    // SAFETY: two texts; behind the name and the sign of equality begins the value.
    unsafe {
        if name.count_bytes() == bytes.len() {
            unsetenv(name.as_ptr())
        } else {
            setenv(name.as_ptr(), text.add(name.count_bytes() + 1), 1)
        }
    }
}

/// What C's `atexit` is in a shared library (Itanium C++ ABI, 3.3.6.3): in a call, the function runs when the
/// caller's program ends, in the order of all that it has for then. It is for the whole process: the program
/// does not have the library that `object` stands for.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __cxa_atexit(
    function: *mut c_void,
    argument: *mut c_void,
    object: *mut c_void,
) -> c_int {
    type Register = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;
    let is_callers = banyan_calls::is_in_call();
    let object = if is_callers { std::ptr::null_mut() } else { object };
    // SAFETY: the caller's contract; the function's type.
    unsafe { function!(c"__cxa_atexit", is_callers, Register)(function, argument, object) }
}

/// The caller's and its parent's number, once they were asked for.
static CALLER: AtomicI32 = AtomicI32::new(0);
static PARENT: AtomicI32 = AtomicI32::new(0);

/// A number of the caller's that does not change while it waits; `number` asks this process.
fn of_caller(known: &AtomicI32, position: usize, number: c_long) -> c_int {
    let there = callers(position);
    if known.load(Relaxed) == 0 && there != 0 && banyan_calls::is_in_call() {
        // SAFETY: the caller's function of that name, which becomes a call-back.
        let ask: extern "C" fn() -> c_int = unsafe { std::mem::transmute(there as *const ()) };
        known.store(ask(), Relaxed);
    }
    match known.load(Relaxed) {
        known if known != 0 && banyan_calls::is_in_call() => known,
        // SAFETY: takes nothing, and cannot fail.
        _ => unsafe { libc::syscall(number) as c_int },
    }
}

/// C's `getpid`. In a child of the library's, which is in no call, it is the child's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn getpid() -> c_int {
    of_caller(&CALLER, const { position(c"getpid") }, libc::SYS_getpid)
}

/// C's `getppid`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn getppid() -> c_int {
    of_caller(&PARENT, const { position(c"getppid") }, libc::SYS_getppid)
}

/// C's `fork`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn fork() -> c_int {
    // SAFETY: the C library's function behind ours.
    let own = unsafe { libc::dlsym(libc::RTLD_NEXT, c"fork".as_ptr()) };
    // SAFETY: the function of that name.
    banyan_calls::fork(unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(own) })
}

type Action = unsafe extern "C" fn(c_int, *const c_void, *mut libc::sigaction) -> c_int;

/// Whether a function catches or ignores a signal, by `sigaction` at that address.
///
/// # Safety
/// It must be the C function.
unsafe fn is_handled(sigaction: u64, signal: c_int) -> bool {
    // SAFETY: the caller's contract; the result is in the heap, which the caller sees.
    unsafe {
        let mut action: Box<libc::sigaction> = Box::new(std::mem::zeroed());
        let sigaction: Action = std::mem::transmute(sigaction as *const ());
        sigaction(signal, std::ptr::null(), &raw mut *action) == 0 && action.sa_sigaction != libc::SIG_DFL
    }
}

/// C's `raise`: a signal that only the caller's program catches is raised there.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn raise(signal: c_int) -> c_int {
    const ACTION: usize = position(c"sigaction");
    // SAFETY: functions of these names.
    unsafe {
        let is_own = is_handled(address(ACTION, c"sigaction", false), signal);
        let there = callers(ACTION);
        let is_callers = !is_own && banyan_calls::is_in_call() && there != 0 && is_handled(there, signal);
        function!(c"raise", is_callers, unsafe extern "C" fn(c_int) -> c_int)(signal)
    }
}

/// C's `kill`: what the library sends to its own process, which it takes its caller's to be, it raises.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn kill(process: c_int, signal: c_int) -> c_int {
    if signal != 0 && process == CALLER.load(Relaxed) && process != 0 {
        // SAFETY: the caller's contract.
        return unsafe { raise(signal) };
    }
    // SAFETY: passes the arguments on.
    unsafe { libc::syscall(libc::SYS_kill, process, signal) as c_int }
}
