//! What a shared library exports and imports, read from its dynamic symbols.
//!
//! For the generator. The file is not trusted: the `object` crate checks every offset.

use super::WrapError;
use super::computing::CODE_MAX;
use object::Endianness;
use object::elf::{self, FileHeader64, Sym64};
use object::read::elf::{FileHeader, Rela, SectionHeader, SectionTable, Sym, SymbolTable};
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
    /// Whether that code chooses the function, when the library is loaded.
    pub is_chosen: bool,
    /// Whether it is data that may change.
    pub is_writable: bool,
    /// Bytes, for data.
    pub size: u64,
    /// Where the library's file has it.
    pub address: u64,
    /// The data as in the file; of a short function its code.
    pub data: Vec<u8>,
    /// The addresses that the loader adds to it.
    pub pointers: Vec<Pointer>,
}

/// An address that the loader writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Where: in the variable, or in the library.
    pub at: u64,
    /// The symbol whose address it is; none for an address that only the library knows.
    pub symbol: Option<String>,
    /// What is added to the symbol's address.
    pub addend: i64,
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
        let file = File { path, bytes, endian, sections: &sections, symbols: &symbols };
        let relocations = file.relocations()?;
        let mut result = Self {
            soname: file.soname()?,
            symbols: Vec::new(),
            others: Vec::new(),
            imports: Vec::new(),
            versions: Vec::new(),
        };
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
            if symbol.st_bind() == elf::STB_LOCAL || symbol.st_shndx(endian) == elf::SHN_ABS {
                continue;
            }
            let is_function = match symbol.st_type() {
                elf::STT_FUNC | elf::STT_GNU_IFUNC => true,
                elf::STT_OBJECT => false,
                elf::STT_TLS => {
                    result.others.push((name, "a variable of each thread"));
                    continue;
                }
                // The linker's own marks are in many libraries.
                _ if LINKER_MARKS.contains(&&*name) => continue,
                _ => {
                    result.others.push((name, "neither a function nor a variable"));
                    continue;
                }
            };
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
            let mut export = Export {
                name,
                version,
                is_default,
                is_function,
                is_chosen: symbol.st_type() == elf::STT_GNU_IFUNC,
                is_writable: false,
                size: symbol.st_size(endian),
                address: symbol.st_value(endian),
                data: Vec::new(),
                pointers: Vec::new(),
            };
            if !is_function {
                file.read_variable(&mut export, symbol, &relocations)?;
            } else if symbol.st_type() == elf::STT_FUNC && export.size <= CODE_MAX {
                export.data = file.bytes_of(&export, symbol)?;
            }
            result.symbols.push(export);
        }
        Ok(result)
    }
}

/// Names that linkers give to places of every library.
const LINKER_MARKS: &[&str] = &["_init", "_fini", "_end", "_edata", "_etext", "__bss_start"];

/// A library as the parser sees it.
struct File<'a> {
    /// For messages.
    path: &'a Path,
    bytes: &'a [u8],
    endian: Endianness,
    sections: &'a SectionTable<'a, FileHeader64<Endianness>>,
    symbols: &'a SymbolTable<'a, FileHeader64<Endianness>>,
}

impl File<'_> {
    /// The name by which programs load it; the file's, if it has none.
    fn soname(&self) -> Result<String, WrapError> {
        let error = |error: object::Error| bad(self.path, error);
        let mut soname = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some((entries, link)) = self.sections.dynamic(self.endian, self.bytes).map_err(error)? {
            let strings = self.sections.strings(self.endian, self.bytes, link).map_err(error)?;
            for entry in entries.iter().filter(|entry| entry.d_tag.get(self.endian) == elf::DT_SONAME as _) {
                let offset =
                    u32::try_from(entry.d_val.get(self.endian)).map_err(|error| bad(self.path, error))?;
                let name = strings.get(offset).map_err(|()| bad(self.path, "its soname is out of range"))?;
                soname = Some(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(soname.unwrap_or_default())
    }

    /// All addresses that the loader writes.
    fn relocations(&self) -> Result<Vec<Pointer>, WrapError> {
        let name = |index| {
            let symbol = self.symbols.symbol(index).ok()?;
            let name = symbol.name(self.endian, self.symbols.strings()).ok()?;
            Some(String::from_utf8_lossy(name).into_owned())
        };
        let mut relocations = Vec::new();
        for section in self.sections.iter() {
            let entries = section.rela(self.endian, self.bytes).map_err(|error| bad(self.path, error))?;
            for entry in entries.into_iter().flat_map(|(entries, _)| entries) {
                let symbol = entry.symbol(self.endian, false).and_then(name).filter(|name| !name.is_empty());
                let (at, addend) = (entry.r_offset(self.endian), entry.r_addend(self.endian));
                relocations.push(Pointer { at, symbol, addend });
            }
        }
        Ok(relocations)
    }

    /// What the file has at a symbol.
    fn bytes_of(&self, export: &Export, symbol: &Sym64<Endianness>) -> Result<Vec<u8>, WrapError> {
        let index = object::SectionIndex(symbol.st_shndx(self.endian).0.into());
        let section = self.sections.section(index).map_err(|error| bad(self.path, error))?;
        let offset = export.address.wrapping_sub(section.sh_addr(self.endian)) as usize;
        let whole = section.data(self.endian, self.bytes).unwrap_or_default();
        let inside = offset..offset.saturating_add(export.size as usize);
        Ok(whole.get(inside).unwrap_or_default().to_vec())
    }

    /// Adds what a variable holds before the library runs.
    fn read_variable(
        &self,
        export: &mut Export,
        symbol: &Sym64<Endianness>,
        relocations: &[Pointer],
    ) -> Result<(), WrapError> {
        let error = |error: object::Error| bad(self.path, error);
        let address = export.address;
        let index = object::SectionIndex(symbol.st_shndx(self.endian).0.into());
        let section = self.sections.section(index).map_err(error)?;
        // Constants with addresses in them are written by the loader, and then never again.
        let name = self.sections.section_name(self.endian, section).unwrap_or_default();
        export.is_writable =
            section.sh_flags(self.endian).0 & elf::SHF_WRITE.0 != 0 && !name.starts_with(b".data.rel.ro");
        export.data = self.bytes_of(export, symbol)?;
        let inside = address..address.saturating_add(export.size);
        let pointers = relocations.iter().filter(|one| inside.contains(&one.at));
        export.pointers = pointers.map(|one| Pointer { at: one.at - address, ..one.clone() }).collect();
        Ok(())
    }
}
