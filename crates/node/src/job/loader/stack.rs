//! The first stack of a program: arguments, environment, auxiliary vector (System V ABI, x86-64, 3.4.1).

use super::{Command, LoadError, images};
use linux_raw_sys::auxvec;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Facts about kernel and processor that are the same for the program as for this daemon: page size, ids,
/// clock ticks, processor capabilities, least signal stack. The kernel's vDSO and rseq are left out on
/// purpose: a program must not see what differs between nodes.
const INHERITED: [u32; 11] = [
    auxvec::AT_PAGESZ,
    auxvec::AT_FLAGS,
    auxvec::AT_UID,
    auxvec::AT_EUID,
    auxvec::AT_GID,
    auxvec::AT_EGID,
    auxvec::AT_HWCAP,
    auxvec::AT_CLKTCK,
    auxvec::AT_HWCAP2,
    auxvec::AT_HWCAP3,
    auxvec::AT_MINSIGSTKSZ,
];

/// A key of the auxiliary vector, as it stands there.
const fn key(name: u32) -> u64 {
    name as u64
}

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
        words.extend([
            key(auxvec::AT_PHDR),
            self.program_headers,
            key(auxvec::AT_PHENT),
            56,
            key(auxvec::AT_PHNUM),
            self.program_header_count,
        ]);
        words.extend([
            key(auxvec::AT_BASE),
            self.linker_base,
            key(auxvec::AT_ENTRY),
            self.entry,
            key(auxvec::AT_SECURE),
            0,
        ]);
        words.extend([
            key(auxvec::AT_RANDOM),
            at(random_at),
            key(auxvec::AT_EXECFN),
            at(path),
            key(auxvec::AT_PLATFORM),
            at(platform),
        ]);
        // The stub puts the address of its vDSO here.
        words.extend([key(auxvec::AT_SYSINFO_EHDR), 0, key(auxvec::AT_NULL), 0]);
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
        .filter(|(name, _)| INHERITED.map(key).contains(name))
        .collect()
}
