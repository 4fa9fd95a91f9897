//! Rewrites a checked module so that an instance can be had from a snapshot, and a snapshot from an instance:
//!
//! - the memory and every mutable global are exported, under names that no module of a user's has;
//! - active data segments become empty passive ones: the data is put into the actor's first image by the
//!   host, once, and an instance that is made later finds its memory as it was. (To `memory.init` from such a
//!   segment fails as it does in the original, where active segments count as dropped.)
//! - the start function becomes an export, which the host calls once in an actor's life;
//! - functions count what they use and can be stopped ([`metering`](super::metering)).
//!
//! So one compiled module serves both the first instance and every later one. Everything else is copied byte
//! by byte.

use wasm_encoder::{CodeSection, DataSection, ExportKind, ExportSection, Module, RawSection, SectionId};
use wasmparser::{DataKind, ExternalKind, Parser, Payload};

use super::abi::RESERVED_PREFIX;
use super::metering::Metering;
use super::metering::{self, Signatures};
use super::module_error::ModuleError;
use super::validator::Checked;

/// The export by which the host reaches the memory.
pub(super) fn memory_name() -> String {
    format!("{RESERVED_PREFIX}memory")
}

/// The export of the start function.
pub(super) fn start_name() -> String {
    format!("{RESERVED_PREFIX}start")
}

/// The export of a mutable global.
pub(super) fn global_name(index: u32) -> String {
    format!("{RESERVED_PREFIX}global:{index}")
}

/// The rewritten module.
pub(super) fn instrument(
    module: &[u8],
    checked: &Checked,
    metering: Metering,
) -> Result<Vec<u8>, ModuleError> {
    let mut exports = ExportSection::new();
    exports.export(&memory_name(), ExportKind::Memory, 0);
    for index in &checked.mutable_globals {
        exports.export(&global_name(*index), ExportKind::Global, *index);
    }
    if let Some(start) = checked.start {
        exports.export(&start_name(), ExportKind::Func, start);
    }
    let mut output = Module::new();
    let mut exported = false;
    let metered = metering != Metering::None;
    let mut signatures = Signatures::new(metering);
    let mut code = CodeSection::new();
    let (mut bodies, mut functions) = (Vec::new(), 0);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::ExportSection(section) = &payload {
            for export in section.clone() {
                let export = export?;
                let kind = match export.kind {
                    ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                    ExternalKind::Table => ExportKind::Table,
                    ExternalKind::Memory => ExportKind::Memory,
                    ExternalKind::Global => ExportKind::Global,
                    ExternalKind::Tag => ExportKind::Tag,
                };
                exports.export(export.name, kind, export.index);
            }
            output.section(&exports);
            exported = true;
            continue;
        }
        if let (Payload::CodeSectionEntry(body), true) = (&payload, metered) {
            signatures.survey(body)?;
            bodies.push(body.clone());
            if bodies.len() as u32 == functions {
                for body in bodies.drain(..) {
                    code.function(&metering::rewrite(module, &body, &mut signatures)?);
                }
                output.section(&code);
            }
            continue;
        }
        let Some((id, range)) = payload.as_section() else { continue };
        let after_exports = id > SectionId::Export as u8;
        if after_exports && !exported {
            output.section(&exports);
            exported = true;
        }
        match &payload {
            Payload::TypeSection(section) if metered => {
                output.section(&signatures.type_section(section.clone())?);
            }
            Payload::ImportSection(section) if metered => {
                output.section(&signatures.import_section(section.clone())?);
            }
            Payload::FunctionSection(section) if metered => {
                output.section(&signatures.function_section(section.clone())?);
            }
            Payload::MemorySection(section) if metered => {
                output.section(&signatures.memory_section(section.clone())?);
            }
            Payload::CodeSectionStart { count, .. } if metered => functions = *count,
            Payload::StartSection { .. } => {}
            Payload::DataSection(section) => {
                let mut segments = DataSection::new();
                for data in section.clone() {
                    let data = data?;
                    let passive = matches!(data.kind, DataKind::Passive);
                    segments.passive(if passive { data.data.iter().copied() } else { [].iter().copied() });
                }
                output.section(&segments);
            }
            // Function names make a trap's trace readable; nothing else that is custom has a use here.
            Payload::CustomSection(section) if section.name() != "name" => {}
            _ => {
                output.section(&RawSection { id, data: &module[range] });
            }
        }
    }
    if !exported {
        output.section(&exports);
    }
    Ok(output.finish())
}
