//! What a shared library exports and imports, read from its dynamic symbols.
//!
//! For the generator. The file is not trusted: the `object` crate checks every offset.

use super::WrapError;
use crate::sys::sandbox::Groups;
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Rela, SectionHeader, Sym};
use std::path::Path;

/// One exported symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Its version, if the library has versions.
    pub version: Option<String>,
    /// Whether programs that name no version get this one.
    pub is_default: bool,
    /// Whether it is code.
    pub is_function: bool,
    /// Whether it is data that may change.
    pub is_writable: bool,
    /// Bytes, for data.
    pub size: u64,
    /// The data as in the file, and what the loader adds: (offset, symbol) pairs.
    pub data: Vec<u8>,
    /// See `data`.
    pub pointers: Vec<(u64, Option<String>)>,
}

/// A library's dynamic symbols.
#[derive(Clone, Debug)]
pub struct Exports {
    /// The name that programs ask for.
    pub soname: String,
    /// What it exports.
    pub symbols: Vec<Export>,
    /// What it exports that no drop-in can stand in for, and why.
    pub others: Vec<(String, &'static str)>,
    /// Names of the functions that it imports.
    pub imports: Vec<String>,
    /// All versions that it defines.
    pub versions: Vec<String>,
}

fn bad(path: &Path, reason: impl std::fmt::Display) -> WrapError {
    WrapError::Library { path: path.to_owned(), reason: reason.to_string() }
}

impl Exports {
    /// Reads them from the library at `path`.
    ///
    /// # Errors
    /// [`WrapError::File`], or [`WrapError::Library`] for anything but an x86-64 shared library.
    pub fn read(path: &Path) -> Result<Self, WrapError> {
        let bytes =
            std::fs::read(path).map_err(|source| WrapError::File { path: path.to_owned(), source })?;
        Self::parse(path, &bytes)
    }

    /// Reads them from the bytes of a library; `path` is for messages.
    ///
    /// # Errors
    /// [`WrapError::Library`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, WrapError> {
        let error = |error: object::Error| bad(path, error);
        let header = FileHeader64::<Endianness>::parse(bytes).map_err(error)?;
        let endian = header.endian().map_err(error)?;
        if header.e_machine(endian) != elf::EM_X86_64 || header.e_type(endian) != elf::ET_DYN {
            return Err(bad(path, "not an x86-64 shared library"));
        }
        let sections = header.sections(endian, bytes).map_err(error)?;
        let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM).map_err(error)?;
        let table = sections.versions(endian, bytes).map_err(error)?;
        let mut result = Self {
            soname: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            symbols: Vec::new(),
            others: Vec::new(),
            imports: Vec::new(),
            versions: Vec::new(),
        };
        if let Some((entries, link)) = sections.dynamic(endian, bytes).map_err(error)? {
            let strings = sections.strings(endian, bytes, link).map_err(error)?;
            for entry in entries.iter().filter(|entry| entry.d_tag.get(endian) == elf::DT_SONAME as _) {
                let offset = u32::try_from(entry.d_val.get(endian)).map_err(|error| bad(path, error))?;
                let name = strings.get(offset).map_err(|()| bad(path, "its soname is out of range"))?;
                result.soname = String::from_utf8_lossy(name).into_owned();
            }
        }
        let mut relocations = Vec::new();
        for section in sections.iter() {
            if let Some((entries, _)) = section.rela(endian, bytes).map_err(error)? {
                for entry in entries {
                    let name = entry.symbol(endian, false).and_then(|index| {
                        let symbol = symbols.symbol(index).ok()?;
                        Some(
                            String::from_utf8_lossy(symbol.name(endian, symbols.strings()).ok()?)
                                .into_owned(),
                        )
                    });
                    relocations.push((entry.r_offset(endian), name));
                }
            }
        }
        for (index, symbol) in symbols.enumerate() {
            let name =
                String::from_utf8_lossy(symbol.name(endian, symbols.strings()).map_err(error)?).into_owned();
            if name.is_empty() {
                continue;
            }
            if symbol.is_undefined(endian) {
                result.imports.push(name);
                continue;
            }
            let kind = symbol.st_type();
            let is_function = kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC;
            let is_data = kind == elf::STT_OBJECT;
            if symbol.st_bind() == elf::STB_LOCAL || symbol.st_shndx(endian) == elf::SHN_ABS {
                continue;
            }
            if !(is_function || is_data) {
                // The linker's own marks are in many libraries.
                if kind == elf::STT_TLS {
                    result.others.push((name, "a variable of each thread"));
                } else if !matches!(&*name, "_init" | "_fini" | "_end" | "_edata" | "_etext" | "__bss_start")
                {
                    result.others.push((name, "neither a function nor a variable"));
                }
                continue;
            }
            let (mut version, mut is_default) = (None, true);
            if let Some(table) = &table {
                let number = table.version_index(endian, index);
                is_default = !number.is_hidden();
                if let Some(found) = table.version(number.index()).map_err(error)? {
                    version = Some(String::from_utf8_lossy(found.name()).into_owned());
                }
            }
            if let Some(version) = version.iter().find(|version| !result.versions.contains(version)) {
                result.versions.push(version.clone());
            }
            let (size, address) = (symbol.st_size(endian), symbol.st_value(endian));
            let mut data = Vec::new();
            let mut pointers = Vec::new();
            let mut is_writable = false;
            if is_data {
                let section = sections
                    .section(object::SectionIndex(symbol.st_shndx(endian).0.into()))
                    .map_err(error)?;
                // Constants with addresses in them are written by the loader, and then never again.
                let section_name = sections.section_name(endian, section).unwrap_or_default();
                is_writable = section.sh_flags(endian).0 & elf::SHF_WRITE.0 != 0
                    && !section_name.starts_with(b".data.rel.ro");
                let offset = address.wrapping_sub(section.sh_addr(endian)) as usize;
                let whole = section.data(endian, bytes).unwrap_or_default();
                data = whole.get(offset..offset.saturating_add(size as usize)).unwrap_or_default().to_vec();
                let inside =
                    relocations.iter().filter(|(at, _)| (address..address.saturating_add(size)).contains(at));
                pointers = inside
                    .map(|(at, name)| (at - address, name.clone().filter(|name| !name.is_empty())))
                    .collect();
            }
            result.symbols.push(Export {
                name,
                version,
                is_default,
                is_function,
                is_writable,
                size,
                data,
                pointers,
            });
        }
        Ok(result)
    }
}

/// Which groups of system calls a library needs, by the functions it imports.
#[must_use]
pub fn derive_groups(imports: &[String]) -> Groups {
    const RULES: &[(Groups, &[&str])] = &[
        (
            Groups::FILES_READ,
            &[
                "open",
                "open64",
                "openat",
                "fopen",
                "fopen64",
                "stat",
                "stat64",
                "access",
                "opendir",
                "readlink",
                "gzopen",
                "gzopen64",
                "xmlReadFile",
                "dlopen",
            ],
        ),
        (
            Groups::FILES_WRITE,
            &[
                "open",
                "open64",
                "openat",
                "creat",
                "unlink",
                "rename",
                "mkdir",
                "ftruncate",
                "ftruncate64",
                "fopen",
                "fopen64",
                "tmpfile",
                "mkstemp",
                "gzopen",
                "gzopen64",
            ],
        ),
        (Groups::NETWORK, &["socket", "connect", "getaddrinfo", "gethostbyname", "bind", "recv", "send"]),
        (
            Groups::PROCESSES,
            &[
                "fork",
                "vfork",
                "execve",
                "execvp",
                "execl",
                "system",
                "popen",
                "posix_spawn",
                "kill",
                "waitpid",
            ],
        ),
    ];
    RULES
        .iter()
        .filter(|(_, names)| imports.iter().any(|import| names.contains(&import.as_str())))
        .fold(Groups::default(), |groups, (group, _)| groups.with(*group))
}
