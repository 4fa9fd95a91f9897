//! Reads a program or a dynamic linker: what is to be mapped where. Nothing in the file is believed.

use super::LoadError;
use banyan_wire::address_space::LOW;
use object::elf::{
    EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR,
};
use object::endian::LittleEndian as LE;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use rustix::mm::ProtFlags;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A file larger than this is no program.
const FILE_MAX: u64 = 4 << 30;
/// Bytes of address space that one program may take.
const SPAN_MAX: u64 = 32 << 30;

/// One PT_LOAD.
#[derive(Debug)]
pub(super) struct Segment {
    /// First byte, relative to the base.
    pub(super) address: u64,
    /// Bytes in memory.
    pub(super) size: u64,
    /// Its bytes in the file.
    pub(super) file_range: Range<usize>,
    /// `PROT_` bits.
    pub(super) protection: u32,
}

/// What the loader needs of an ELF file. Addresses are relative to the base.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    /// Linked at a fixed address.
    pub(super) fixed: bool,
    pub(super) entry: u64,
    pub(super) segments: Vec<Segment>,
    /// First byte after the last segment.
    pub(super) end: u64,
    pub(super) interpreter: Option<PathBuf>,
    pub(super) headers_address: u64,
    pub(super) header_count: u64,
    pub(super) executable_stack: bool,
}

impl Elf {
    /// Reads and checks a file.
    pub(super) fn read(path: &Path) -> Result<Self, LoadError> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => LoadError::NotFound(path.into()),
            std::io::ErrorKind::PermissionDenied => LoadError::NotExecutable(path.into()),
            _ => LoadError::Io { path: path.into(), source },
        };
        let size = std::fs::metadata(path).map_err(io)?.len();
        if size > FILE_MAX {
            return Err(LoadError::Corrupt {
                path: path.into(),
                reason: format!("{size} bytes are too many"),
            });
        }
        Self::parse(path, std::fs::read(path).map_err(io)?)
    }

    /// Checks the bytes of a file.
    pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, LoadError> {
        let corrupt = |reason: &str| LoadError::Corrupt { path: path.into(), reason: reason.into() };
        if bytes.len() < 20 || !bytes.starts_with(b"\x7fELF") {
            return Err(corrupt("it is neither an ELF file nor a script"));
        }
        let machine = u16::from_le_bytes([bytes[18], bytes[19]]);
        if bytes[4] != 2 || bytes[5] != 1 || machine != EM_X86_64.0 {
            return Err(LoadError::WrongArchitecture {
                path: path.into(),
                machine: machine_name(bytes[4], machine),
            });
        }
        let truncated = |_| corrupt("it is truncated");
        let header = FileHeader64::<LE>::parse(&bytes[..]).map_err(truncated)?;
        let fixed = match header.e_type(LE) {
            ET_EXEC => true,
            ET_DYN => false,
            _ => return Err(corrupt("it is an object file, not a program")),
        };
        let headers = header.program_headers(LE, &bytes[..]).map_err(truncated)?;
        let table = header.e_phoff(LE);
        let mut elf = Self {
            path: path.into(),
            fixed,
            entry: header.e_entry(LE),
            segments: Vec::new(),
            end: 0,
            interpreter: None,
            headers_address: 0,
            header_count: headers.len() as u64,
            executable_stack: false,
            bytes: Vec::new(),
        };
        let mut first = u64::MAX;
        for header in headers {
            let (offset, file_size) = header.file_range(LE);
            let in_file = || -> Result<Range<usize>, LoadError> {
                let end = offset.checked_add(file_size).filter(|&end| end <= bytes.len() as u64);
                let end = end.ok_or_else(|| corrupt("it is truncated: a segment ends after the file"))?;
                Ok(offset as usize..end as usize)
            };
            match header.p_type(LE) {
                PT_LOAD if header.p_memsz(LE) > 0 => {
                    let (address, size) = (header.p_vaddr(LE), header.p_memsz(LE));
                    let end = address.checked_add(size).filter(|_| file_size <= size);
                    let end = end.ok_or_else(|| corrupt("a segment has an impossible size"))?;
                    let fits = if fixed { LOW.holds(address, end - address) } else { end <= SPAN_MAX };
                    if !fits {
                        let reason = if fixed {
                            "it is linked at a fixed address outside of the lowest 2 GiB"
                        } else {
                            "its segments span too many bytes"
                        };
                        return Err(LoadError::Unplaceable { path: path.into(), reason });
                    }
                    let file_range = in_file()?;
                    if table >= offset && table < offset + file_size {
                        elf.headers_address = address + (table - offset);
                    }
                    let flags = header.p_flags(LE).0;
                    let mut rights = ProtFlags::empty();
                    rights.set(ProtFlags::READ, flags & PF_R.0 != 0);
                    rights.set(ProtFlags::WRITE, flags & PF_W.0 != 0);
                    rights.set(ProtFlags::EXEC, flags & PF_X.0 != 0);
                    let protection = rights.bits();
                    elf.segments.push(Segment { address, size, file_range, protection });
                    elf.end = elf.end.max(end);
                    first = first.min(address);
                }
                PT_PHDR => elf.headers_address = header.p_vaddr(LE),
                PT_INTERP => {
                    let name = &bytes[in_file()?];
                    let name = name.strip_suffix(b"\0").unwrap_or(name);
                    elf.interpreter = Some(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
                }
                PT_GNU_STACK => elf.executable_stack = header.p_flags(LE).0 & PF_X.0 != 0,
                _ => {}
            }
        }
        if elf.segments.is_empty() {
            return Err(corrupt("it has no segment to load"));
        }
        if elf.entry < first || elf.entry >= elf.end {
            return Err(corrupt("its entry point lies in no segment"));
        }
        elf.bytes = bytes;
        Ok(elf)
    }

    /// The names of what is shared with libraries and of those, each ended by a zero. None of a file without
    /// sections, which nothing but its loading needs.
    pub(super) fn dynamic_names(&self) -> &[u8] {
        let bytes = &self.bytes[..];
        let names = || {
            let sections = FileHeader64::<LE>::parse(bytes).ok()?.sections(LE, bytes).ok()?;
            let (_, names) = sections.section_by_name(LE, b".dynstr")?;
            names.data(LE, bytes).ok()
        };
        names().unwrap_or(&[])
    }
}

fn machine_name(class: u8, machine: u16) -> String {
    match (class, machine) {
        (_, 3) => "32-bit x86".into(),
        (_, 40) => "32-bit Arm".into(),
        (_, 183) => "Arm (aarch64)".into(),
        (_, 243) => "RISC-V".into(),
        (_, 21) => "PowerPC".into(),
        (1, 62) => "the x32 variant of x86-64".into(),
        _ => format!("machine number {machine}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is cut off or flipped in a real program, reading it ends with a value or an error.
    #[test]
    fn no_damage_of_a_program_panics() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let head = bytes.len().min(4096);
        for cut in (0..head).step_by(7) {
            let _ = Elf::parse(Path::new("cut"), bytes[..cut].to_vec());
        }
        for at in 0..1024.min(head) {
            let mut damaged = bytes[..head].to_vec();
            damaged[at] ^= 0xff;
            let _ = Elf::parse(Path::new("damaged"), damaged);
        }
        assert!(Elf::parse(Path::new("whole"), bytes).is_ok());
    }

    #[test]
    fn other_architectures_are_named() {
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        bytes[18] = 183;
        let error = Elf::parse(Path::new("arm"), bytes).unwrap_err();
        assert!(error.to_string().contains("aarch64"), "{error}");
        assert_eq!(error.status(), 126);
    }
}
