//! What the caller's C library offers a worker: addresses of its functions and streams.
//!
//! A jump to such an address becomes a call-back, by the worker's fault handler.

use banyan_calls::CALLER_NAMES;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NAMES: usize = CALLER_NAMES.len();
/// In the caller, by position in the list.
static CALLER: [AtomicU64; NAMES] = [const { AtomicU64::new(0) }; NAMES];
/// This process's own behind ours, found when first needed.
static OWN: [AtomicU64; NAMES] = [const { AtomicU64::new(0) }; NAMES];

/// Told once, before the library is loaded.
pub(crate) fn learn(names: &[(String, u64)]) {
    for (name, address) in names {
        if let Some(position) = CALLER_NAMES.iter().position(|known| known == name) {
            CALLER[position].store(*address, Relaxed);
        }
    }
}

/// The position of a name in the lists; found when this program is compiled.
pub(crate) const fn position(name: &CStr) -> usize {
    let name = name.to_bytes();
    let mut position = 0;
    while position < NAMES {
        let known = CALLER_NAMES[position].as_bytes();
        let mut at = 0;
        while at < known.len() && at < name.len() && known[at] == name[at] {
            at += 1;
        }
        if at == known.len() && at == name.len() {
            return position;
        }
        position += 1;
    }
    panic!("the name is not in the list")
}

/// What the caller has under that position, 0 if nothing.
pub(crate) fn callers(position: usize) -> u64 {
    CALLER[position].load(Relaxed)
}

/// The function of this process's own C library.
pub(crate) fn own(position: usize, name: &CStr) -> u64 {
    match OWN[position].load(Relaxed) {
        0 => {
            // SAFETY: looks up the C library's function behind ours.
            let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as u64;
            OWN[position].store(address, Relaxed);
            address
        }
        address => address,
    }
}

/// The function at that position of the lists, which has that name: the caller's, if it has one and is to be
/// used, or this process's own.
pub(crate) fn address(position: usize, name: &CStr, is_callers: bool) -> u64 {
    match callers(position) {
        there if is_callers && there != 0 => there,
        _ => own(position, name),
    }
}

/// A C function's name, of its text and a zero byte.
pub(crate) const fn c_name(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name has no zero byte"),
    }
}

/// The function of that name, here or at the caller's: a jump there is turned into a call-back by the fault
/// handler.
///
/// # Safety
/// `$kind` must be the function's type.
macro_rules! function {
    ($name:expr, $is_callers:expr, $kind:ty) => {{
        const NAME: &std::ffi::CStr = $name;
        const POSITION: usize = crate::caller::position(NAME);
        let address = crate::caller::address(POSITION, NAME, $is_callers);
        std::mem::transmute::<*const (), $kind>(address as *const ())
    }};
}
pub(crate) use function;

/// Defines C functions that run here or, when `$choose` finds that their file is the caller's, there.
/// `$choose` gives the file to use and whether it is the caller's; `$then` is called with the result.
macro_rules! forward {
    ($choose:path; $($rest:tt)*) => {
        crate::caller::forward! { $choose, std::convert::identity; $($rest)* }
    };
    ($choose:path, $then:path; $($name:ident ($($argument:ident: $kind:ty),*) on $file:ident -> $result:ty;)*) => {$(
        /// The C function, for files of this process and of the caller.
        ///
        /// # Safety
        /// As the C function's.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $kind),*) -> $result {
            let ($file, is_callers) = $choose($file);
            // SAFETY: both candidates are functions of this name and so of this signature.
            unsafe {
                let function = crate::caller::function!(
                    crate::caller::c_name(concat!(stringify!($name), "\0")),
                    is_callers,
                    unsafe extern "C" fn($($kind),*) -> $result
                );
                $then(function($($argument),*))
            }
        }
    )*};
}
pub(crate) use forward;
