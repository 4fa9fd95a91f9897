//! The functions of a Rust program that can run in a worker, found by number.
//!
//! `#[isolated]` puts an entry for each into a section of the program or shared object that it is compiled
//! into; the worker, which has loaded the same, finds them there. A number is a hash of the function's path
//! and signature: caller and worker need not agree on addresses, and builds that do not agree on the
//! arguments do not find each other's function. Not for C libraries.

use crate::babysitter::Program;
use crate::rust::discovery::SERVE_VARIABLE;
use crate::sys::maps::{self, Mapping};
use crate::worker::BytesFunction;

/// One isolated function.
#[repr(C)]
#[derive(Debug)]
pub struct Entry {
    /// See [`number_of`].
    pub number: u64,
    /// Decodes arguments, calls, encodes the result.
    pub function: BytesFunction,
}

/// The number of the function with that path and signature, as `#[isolated]` writes them.
#[must_use]
pub const fn number_of(function: &str) -> u64 {
    let bytes = function.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash >> 1
}

fn nothing(_: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
    Ok(())
}

// One entry that is always there, so that the section exists in every program.
#[used]
#[unsafe(link_section = "banyan_calls")]
static FIRST: Entry = Entry { number: 0, function: nothing };

#[expect(improper_ctypes, reason = "symbols of the linker; only Rust code reads what lies between them")]
unsafe extern "C" {
    #[link_name = "__start_banyan_calls"]
    static START: Entry;
    #[link_name = "__stop_banyan_calls"]
    static STOP: Entry;
}

/// Finds a function by its number.
pub(crate) fn find(number: u64) -> Option<BytesFunction> {
    // SAFETY: the linker defines both symbols as the ends of the section, which holds entries only.
    let entries = unsafe {
        let (start, stop) = (&raw const START, &raw const STOP);
        std::slice::from_raw_parts(start, stop.offset_from(start) as usize)
    };
    entries.iter().find(|entry| entry.number == number && number != 0).map(|entry| entry.function)
}

/// The file whose functions [`find`] finds: the program, or a shared object.
pub(crate) fn own_object() -> Option<Mapping> {
    maps::at((&raw const FIRST) as u64)
}

/// Becomes a babysitter or a service if this process was started as one; `#[isolated]` has it
/// called before `main`, and when a shared object is loaded.
pub extern "C" fn before_main() {
    let wanted = crate::babysitter::wanted();
    if wanted.is_some_and(|wanted| own_object().is_some_and(|own| own.path == wanted)) {
        crate::babysitter::run(Program { find, heap_is_ours: false, stdio: |_| {}, admit: None });
    }
    if let Ok(place) = std::env::var(SERVE_VARIABLE) {
        let error = crate::rust::discovery::serve(&place);
        eprintln!("banyan: {error}");
        crate::sys::process::end_now(1);
    }
}
