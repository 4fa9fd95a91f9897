//! Listings of the directories under /proc that show this process: the stub's descriptors and its service
//! thread are not in them.
//!
//! Not here: what a program finds there by name, without a listing; files that it opens there (`files`).

use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::process::descriptors;
use crate::report::Decimal;
use crate::thread::{Role, block};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// What the names of a listing are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Descriptors of this process.
    Descriptors,
    /// Its threads.
    Threads,
}

impl Listing {
    /// What the directory behind a descriptor lists, if it is one of these.
    pub fn of(descriptor: u64) -> Option<Self> {
        let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
        let number = Decimal::new(u64::from(descriptor as u32));
        let digits = number.text();
        link[14..14 + digits.len()].copy_from_slice(digits);
        let mut target = [0_u8; 64];
        let arguments = [link.as_ptr() as u64, target.as_mut_ptr() as u64, target.len() as u64];
        // SAFETY: the link ends with a zero; both live across the call, which writes no more than the target.
        let length = unsafe { kernel::checked(linux::__NR_readlink, arguments) }.ok()?;
        Self::of_path(&target[..length as usize], Decimal::new(kernel::process_id().into()).text())
    }

    fn of_path(path: &[u8], process: &[u8]) -> Option<Self> {
        let below = path.strip_prefix(b"/proc/")?.strip_prefix(process)?;
        if below == b"/task" {
            return Some(Self::Threads);
        }
        let thread = below.strip_prefix(b"/task/").and_then(|rest| {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.get(digits..)
        });
        matches!(thread.unwrap_or(below), b"/fd" | b"/fdinfo").then_some(Self::Descriptors)
    }

    fn hides(self, number: u32) -> bool {
        match self {
            Self::Descriptors => descriptors::is_ours(number as i32),
            Self::Threads => block::all().any(|thread| {
                thread.role() == Role::Service && thread.thread_id.load(Ordering::Relaxed) == number
            }),
        }
    }

    /// Makes a call that lists, into the stub's own memory. The names begin at this place of each entry.
    ///
    /// # Safety
    /// As `kernel::raw`, and the buffer is memory of the stub that the caller alone uses.
    pub unsafe fn read(self, number: u32, arguments: &[u64; 6], name: u8) -> i64 {
        loop {
            // SAFETY: the caller's promise.
            let result = unsafe { kernel::raw(number, *arguments) };
            let Some(length @ 1..) = usize::try_from(result).ok() else { return result };
            // SAFETY: the kernel wrote these bytes of the buffer.
            let entries = unsafe { core::slice::from_raw_parts_mut(arguments[1] as *mut u8, length) };
            // An empty listing would be its end.
            if let kept @ 1.. = keep(entries, name.into(), |number| !self.hides(number)) {
                return kept as i64;
            }
        }
    }

    /// As [`Self::read`], into the program's memory, through `payload`.
    pub fn read_for_program(self, payload: &mut [u8], number: u32, arguments: &[u64; 6], name: u8) -> i64 {
        let [descriptor, buffer, room, ..] = *arguments;
        let room = u64::from(room as u32).min(payload.len() as u64);
        // SAFETY: the payload has this room, and lives across the call.
        let result =
            unsafe { self.read(number, &[descriptor, payload.as_mut_ptr() as u64, room, 0, 0, 0], name) };
        let copied =
            usize::try_from(result).map(|length| copy::copy_out(ProgramAddress(buffer), &payload[..length]));
        match copied {
            Ok(Err(error)) => error.negated(),
            _ => result,
        }
    }
}

/// Takes the entries out whose name is a number that is not wanted. Returns how many bytes are left.
fn keep(entries: &mut [u8], name: usize, wanted: impl Fn(u32) -> bool) -> usize {
    /// Where the length of an entry is (`struct linux_dirent`, `linux_dirent64`).
    const LENGTH: usize = 16;
    let (mut at, mut end) = (0, 0);
    while let Some(&[low, high]) = entries.get(at + LENGTH..at + LENGTH + 2) {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(text) = entries.get(at + name..at + length) else { break };
        let number = text.iter().take_while(|&&byte| byte != 0).try_fold(0_u32, |number, byte| {
            let digit = (*byte as char).to_digit(10)?;
            number.checked_mul(10)?.checked_add(digit)
        });
        if number.is_none_or(&wanted) {
            entries.copy_within(at..at + length, end);
            end += length;
        }
        at += length;
    }
    end
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn the_directories_of_this_process_are_recognized() {
        let of = |path: &str| Listing::of_path(path.as_bytes(), b"12");
        for path in ["/proc/12/fd", "/proc/12/fdinfo", "/proc/12/task/13/fd", "/proc/12/task/13/fdinfo"] {
            assert_eq!(of(path), Some(Listing::Descriptors), "{path}");
        }
        assert_eq!(of("/proc/12/task"), Some(Listing::Threads));
        for path in
            ["/proc/123/fd", "/proc/12/task/13", "/proc/12", "/proc/1/fd", "/proc/12/task/x/fd", "/fd"]
        {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn entries_with_unwanted_numbers_are_taken_out() {
        let entry = |name: &str| {
            let mut bytes = vec![0_u8; (19 + name.len() + 1).next_multiple_of(8)];
            bytes[16] = bytes.len() as u8;
            bytes[19..19 + name.len()].copy_from_slice(name.as_bytes());
            bytes
        };
        let all = ["..", "0", "1000", "1001", "x1000", "99999999999"];
        let mut entries: Vec<u8> = all.into_iter().flat_map(entry).collect();
        let left: Vec<u8> = all.into_iter().filter(|name| *name != "1000").flat_map(entry).collect();
        let length = keep(&mut entries, 19, |number| number != 1000);
        assert_eq!(entries[..length], left);
        assert_eq!(
            keep(&mut entries[..length], 19, |_| false),
            left.len() - entry("0").len() - entry("1001").len()
        );
    }
}
