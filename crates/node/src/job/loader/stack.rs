//! The first stack of a program: arguments, environment, auxiliary vector (System V ABI, x86-64, 3.4.1).

use super::{Command, LoadError, images};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_BASE: u64 = 7;
const AT_ENTRY: u64 = 9;
const AT_PLATFORM: u64 = 15;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
/// Facts about kernel and processor that are the same for the program as for this daemon: page size, ids,
/// clock ticks, processor capabilities, least signal stack. The kernel's vDSO and rseq are left out on
/// purpose: a program must not see what differs between nodes.
const INHERITED: [u64; 11] = [6, 8, 11, 12, 13, 14, 16, 17, 26, 29, 51];

/// What the stack says.
pub(super) struct Contents<'a> {
    pub(super) command: &'a Command,
    /// The program's file, as this process can open it.
    pub(super) executable: &'a Path,
    pub(super) environment: &'a [OsString],
    pub(super) program_headers: u64,
    pub(super) program_header_count: u64,
    pub(super) linker_base: u64,
    pub(super) entry: u64,
}

/// Bytes of the first stack: the caller's soft limit, within reason where there is none.
pub(super) fn size(limit: Option<u64>) -> u64 {
    const DEFAULT: u64 = 8 << 20;
    const MAX: u64 = 1 << 30;
    limit.unwrap_or(DEFAULT).clamp(256 << 10, MAX) & !4095
}

impl Contents<'_> {
    /// The bytes that end at `end`; the first of them is where the stack pointer starts. Also, where among
    /// them the path of the program's file is, which the links under /proc lead to.
    pub(super) fn build(&self, end: u64, room: u64) -> Result<(Vec<u8>, u64), LoadError> {
        let mut strings = Vec::new();
        let mut add = |bytes: &[u8]| {
            let offset = strings.len();
            strings.extend_from_slice(bytes);
            strings.push(0);
            offset
        };
        let path = add(self.command.path.as_os_str().as_bytes());
        let executable = add(images::canonical(self.executable).as_os_str().as_bytes());
        let platform = add(b"x86_64");
        let arguments: Vec<usize> = self.command.arguments.iter().map(|a| add(a.as_bytes())).collect();
        let environment: Vec<usize> = self.environment.iter().map(|e| add(e.as_bytes())).collect();
        let mut random = [0_u8; 16];
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        let random_at = strings.len();
        strings.extend_from_slice(&random);
        let bytes = strings.len() as u64;
        if bytes > room {
            return Err(LoadError::ArgumentsTooLong { path: self.command.path.clone(), bytes, room });
        }
        // The last word of a stack is zero.
        let strings_start = (end - 8 - bytes) & !15;
        let at = |offset: usize| strings_start + offset as u64;
        let mut words = vec![arguments.len() as u64];
        words.extend(arguments.iter().map(|&offset| at(offset)));
        words.push(0);
        words.extend(environment.iter().map(|&offset| at(offset)));
        words.push(0);
        for (key, value) in inherited() {
            words.extend([key, value]);
        }
        words.extend([AT_PHDR, self.program_headers, AT_PHENT, 56, AT_PHNUM, self.program_header_count]);
        words.extend([AT_BASE, self.linker_base, AT_ENTRY, self.entry, AT_SECURE, 0]);
        words.extend([AT_RANDOM, at(random_at), AT_EXECFN, at(path), AT_PLATFORM, at(platform)]);
        // The stub puts the address of its vDSO here.
        words.extend([AT_SYSINFO_EHDR, 0, AT_NULL, 0]);
        let start = (strings_start - words.len() as u64 * 8) & !15;
        let mut image = vec![0_u8; (end - start) as usize];
        for (slot, word) in image.chunks_exact_mut(8).zip(&words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let offset = (strings_start - start) as usize;
        image[offset..offset + strings.len()].copy_from_slice(&strings);
        Ok((image, at(executable)))
    }
}

fn inherited() -> Vec<(u64, u64)> {
    let bytes = std::fs::read("/proc/self/auxv").unwrap_or_default();
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap_or_default());
    bytes
        .chunks_exact(16)
        .map(|pair| (word(&pair[..8]), word(&pair[8..])))
        .filter(|(key, _)| INHERITED.contains(key))
        .collect()
}
