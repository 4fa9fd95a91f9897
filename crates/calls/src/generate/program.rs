//! The program that is to start with libraries isolated: whether that can reach it.
//!
//! A drop-in gets into a program by its loader. Not for what the program does then: one that opens a library
//! by its path gets the drop-in, which sees to that itself.

use super::WrapError;
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::FileHeader;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a script's first line that the kernel looks at (execve(2)).
const FIRST_LINE_MAX: usize = 256;
const SET_ID_BITS: u32 = 0o6000;

/// Refuses a program in which no library can be isolated. One that is not found, or that the kernel would not
/// start, is for the start to refuse.
///
/// # Errors
/// [`WrapError::Program`].
pub fn check_program(name: &OsStr) -> Result<(), WrapError> {
    let Some(path) = find(name) else { return Ok(()) };
    check(&path).map_err(|reason| WrapError::Program { path, reason })
}

/// The file that `name` starts (execvp(3)).
fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    let places = std::env::var_os("PATH")?;
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&places).map(|place| place.join(name)).find(is_program)
}

fn check(path: &Path) -> Result<(), String> {
    let (Ok(file), Ok(found)) = (File::open(path), path.metadata()) else { return Ok(()) };
    if found.permissions().mode() & SET_ID_BITS != 0 {
        return Err(
            "it changes its user or group when it starts, and its loader then takes no drop-ins".into()
        );
    }
    let mut first = Vec::new();
    if file.take(FIRST_LINE_MAX as u64).read_to_end(&mut first).is_err() {
        return Ok(());
    }
    if let Some(interpreter) = interpreter(&first) {
        let reason = |reason| format!("its interpreter {}: {reason}", interpreter.display());
        return if interpreter == path {
            Ok(())
        } else {
            check_binary(Path::new(&interpreter)).map_err(reason)
        };
    }
    check_binary(path)
}

/// The interpreter that a script names in its first line.
fn interpreter(first: &[u8]) -> Option<OsString> {
    let line = first.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let word = line.split(|&byte| byte == b' ' || byte == b'\t').find(|word| !word.is_empty())?;
    Some(OsString::from_vec(word.to_vec()))
}

fn check_binary(path: &Path) -> Result<(), String> {
    let Ok(bytes) = std::fs::read(path) else { return Ok(()) };
    if !bytes.starts_with(&elf::ELFMAG) {
        return Ok(());
    }
    let Ok(header) = FileHeader64::<Endianness>::parse(&*bytes) else {
        return Err("it is not an x86-64 program, and drop-ins are".into());
    };
    let Ok(endian) = header.endian() else { return Ok(()) };
    if header.e_machine(endian) != elf::EM_X86_64 {
        return Err("it is not an x86-64 program, and drop-ins are".into());
    }
    let Ok(segments) = header.program_headers(endian, &*bytes) else { return Ok(()) };
    if !segments.iter().any(|segment| segment.p_type.get(endian) == elf::PT_INTERP) {
        return Err(
            "it is statically linked, so no library of it can be isolated; start it as it is, or link it \
            with shared libraries"
                .into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_script_is_its_first_word() {
        assert_eq!(interpreter(b"#! /bin/sh -e\nexit"), Some("/bin/sh".into()));
        assert_eq!(interpreter(b"#!/usr/bin/env python3"), Some("/usr/bin/env".into()));
        assert_eq!(interpreter(b"#!\n"), None);
        assert_eq!(interpreter(b"\x7fELF"), None);
    }
}
