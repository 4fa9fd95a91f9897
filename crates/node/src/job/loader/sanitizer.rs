//! Programs that cannot be in a run whatever is done for them: checkers whose runtime needs what a run has
//! for itself. They run natively, on the home node, and that is said.
//!
//! Not here: what runs, as AddressSanitizer without its look for leaks does.

use super::Checked;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// Why a program runs natively.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    /// ThreadSanitizer has fixed addresses for its shadow, the program and the heap.
    ThreadSanitizer,
    /// LeakSanitizer, which also AddressSanitizer has, stops all threads from a process that traces them and
    /// shares their memory.
    LeakSanitizer,
}

impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThreadSanitizer => {
                "ThreadSanitizer wants the addresses that a run has for itself; the program runs natively, here \
                 alone"
            }
            Self::LeakSanitizer => {
                "LeakSanitizer traces all threads, which no run can serve; the program runs natively, here alone \
                 (ASAN_OPTIONS=detect_leaks=0 has it run over the nodes)"
            }
        })
    }
}

impl Checked {
    /// Whether, and why, the program runs natively with these variables of its environment.
    pub(crate) fn native(&self, variable: impl Fn(&str) -> Option<OsString>) -> Option<Native> {
        let looks_for_leaks = ["ASAN_OPTIONS", "LSAN_OPTIONS"].iter().all(|name| {
            variable(name).is_none_or(|options| {
                let mut words = options.as_bytes().split(|byte| b" ,:\t\n\r\"'".contains(byte));
                !words.any(|word| {
                    let value = word.strip_prefix(b"detect_leaks=");
                    value.is_some_and(|value| [&b"0"[..], b"no", b"false"].contains(&value))
                })
            })
        });
        of_names(self.0.dynamic_names()).filter(|native| match native {
            Native::ThreadSanitizer => true,
            Native::LeakSanitizer => looks_for_leaks,
        })
    }
}

/// By the names that the program shares with its libraries: those of a runtime that is one, and of one that
/// is in the program.
fn of_names(names: &[u8]) -> Option<Native> {
    let mut found = None;
    for name in names.split(|&byte| byte == 0) {
        if name == b"__tsan_init" || name.starts_with(b"libtsan.so") {
            return Some(Native::ThreadSanitizer);
        }
        let libraries = [&b"libasan.so"[..], b"liblsan.so"];
        let is_library = libraries.iter().any(|library| name.starts_with(library));
        if is_library || name == b"__asan_init" || name == b"__lsan_do_leak_check" {
            found = Some(Native::LeakSanitizer);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Command, check};
    use super::*;

    #[test]
    fn a_checker_is_known_by_its_names() {
        let of = |names: &str| of_names(names.as_bytes());
        assert_eq!(of("\0puts\0libc.so.6\0"), None);
        assert_eq!(of("\0libtsan.so.2\0libc.so.6\0"), Some(Native::ThreadSanitizer));
        assert_eq!(of("\0__asan_init\0__tsan_init\0"), Some(Native::ThreadSanitizer));
        assert_eq!(of("\0liblsan.so.0\0"), Some(Native::LeakSanitizer));
        assert_eq!(of("\0__asan_init\0puts\0"), Some(Native::LeakSanitizer));
        assert_eq!(of("\0my__asan_init\0notlibasan.so\0"), None);
    }

    #[test]
    fn a_program_without_a_checker_is_in_the_run() {
        let command = Command { path: "/proc/self/exe".into(), arguments: Vec::new() };
        assert_eq!(check(&command).unwrap().native(|_| None), None);
    }
}
