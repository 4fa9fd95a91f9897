//! The runtime inside each replica: small, complete in itself, and without an allocator.

use super::outcome::{Measured, Outcome};
use super::session::Session;
use crate::row::Detail;
use anyhow::Context;
use banyan_node::STUB_IMAGE;
use object::elf::{FileHeader64, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use object::endian::LittleEndian as LE;
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use serde_json::json;

const SIZE_MAX: f64 = 65536.0;
/// What a binary that uses Rust's allocating library, or C's, would hold somewhere: the path of its source in
/// the texts of its panics, or the names of its functions.
const TRACES_OF_ALLOCATION: &[&str] = &["library/alloc/", "__rust_alloc", "__rdl_alloc", "malloc"];

/// `stub.size`.
pub(crate) fn size(_: &mut Session) -> anyhow::Result<Outcome> {
    let header = FileHeader64::<LE>::parse(STUB_IMAGE).context("the stub's image is no ELF file")?;
    let segments = header.program_headers(LE, STUB_IMAGE)?;
    let memory: u64 =
        segments.iter().filter(|one| one.p_type(LE) == PT_LOAD).map(|one| one.p_memsz(LE)).sum();
    let needs_linker = segments.iter().any(|one| matches!(one.p_type(LE), PT_DYNAMIC | PT_INTERP));
    let sections = header.sections(LE, STUB_IMAGE)?;
    let mut undefined = 0;
    for kind in [object::elf::SHT_SYMTAB, object::elf::SHT_DYNSYM] {
        let symbols = sections.symbols(LE, STUB_IMAGE, kind)?;
        undefined +=
            symbols.enumerate().filter(|(index, symbol)| index.0 != 0 && symbol.is_undefined(LE)).count();
    }
    let holds = |word: &&&str| STUB_IMAGE.windows(word.len()).any(|window| window == word.as_bytes());
    let traces: Vec<&&str> = TRACES_OF_ALLOCATION.iter().filter(holds).collect();
    let bytes = STUB_IMAGE.len() as f64;
    let mut detail = Detail::new();
    detail.insert("bytes_in_memory".into(), json!(memory));
    detail.insert("undefined_symbols".into(), json!(undefined));
    detail.insert("needs_a_dynamic_linker".into(), json!(needs_linker));
    detail.insert("traces_of_allocation".into(), json!(traces));
    Ok(Outcome::Measured(Measured {
        value: bytes,
        unit: "B",
        ratio: bytes / SIZE_MAX,
        sound: undefined == 0 && !needs_linker && traces.is_empty(),
        detail,
    }))
}
