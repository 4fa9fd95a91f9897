//! Which addresses the program has for a library's functions.
//!
//! A function of a drop-in has its entry there. A program that is linked at a fixed address has an entry of
//! its own for each function whose address it takes: an undefined symbol with a value, which stands for the
//! function in the whole process (System V ABI, AMD64 supplement, "Function Addresses"). Not for what is done
//! with them; that is `caller::functions`.

use super::{Function, Library};
use crate::caller::connection::Connection;
use crate::caller::functions::Meaning;
use crate::sys::maps;
use std::ffi::CString;

/// For `dladdr1`: gives the symbol's entry in the table (dladdr1(3)).
const SYMBOL_ENTRY: libc::c_int = 1;

unsafe extern "C" {
    fn dladdr1(
        address: *const libc::c_void,
        information: *mut libc::Dl_info,
        extra: *mut *mut libc::c_void,
        flags: libc::c_int,
    ) -> libc::c_int;
}

/// The address that the program has for a function, 0 if it has none. The drop-in may be known to some of the
/// program's objects only.
///
/// # Safety
/// `drop_in` must be a handle, or null.
unsafe fn address_here(function: &Function, drop_in: *mut libc::c_void) -> u64 {
    let find = |handle: *mut libc::c_void| {
        // SAFETY: looks a name up, of a constant of the drop-in's, where the caller says.
        unsafe {
            if function.version.is_null() {
                libc::dlsym(handle, function.name)
            } else {
                libc::dlvsym(handle, function.name, function.version)
            }
        }
    };
    let found = find(libc::RTLD_DEFAULT);
    (if found.is_null() && !drop_in.is_null() { find(drop_in) } else { found }) as u64
}

/// Whether a program has its own entry for a function of another object at `address`.
fn stands_for_another(address: u64) -> bool {
    let mut entry: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: the C library fills both, and only reads what it knows of the address.
    unsafe {
        let mut information: libc::Dl_info = std::mem::zeroed();
        let known = dladdr1(address as *const _, &raw mut information, &raw mut entry, SYMBOL_ENTRY) != 0
            && information.dli_saddr as u64 == address;
        known && entry.cast::<libc::Elf64_Sym>().as_ref().is_some_and(|symbol| symbol.st_shndx == 0)
    }
}

/// Tells a connection the addresses of its library's functions, which the drop-in described by `library` has.
pub(super) fn learn(connection: &mut Connection, library: &Library, functions: &[Function]) {
    // The drop-in's code, by the file that this description of it lies in.
    let mappings = maps::list();
    let place = std::ptr::from_ref(library) as u64;
    let Some(own) = mappings.iter().find(|one| (one.start..one.end).contains(&place)) else { return };
    let code: Vec<_> = mappings.iter().filter(|one| one.executable && one.path == own.path).collect();
    let meaning = |address| {
        if code.iter().any(|one| (one.start..one.end).contains(&address)) {
            Meaning::Entry
        } else if stands_for_another(address) {
            Meaning::OwnEntry
        } else {
            Meaning::Unknown
        }
    };
    let Ok(file) = CString::new(own.path.as_str()) else { return };
    // SAFETY: of the drop-in, which is loaded, and stays so as long as its code runs. What was not found is
    // not the program's error.
    unsafe {
        let handle = libc::dlopen(file.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        let here = functions.iter().map(|function| address_here(function, handle));
        connection.know_functions(here, meaning);
        if !handle.is_null() {
            libc::dlclose(handle);
        }
        libc::dlerror();
    }
}
