//! Decides whether a module may become actors: it is valid WebAssembly, asks for no more than the limits,
//! imports only host functions, speaks this version of the interface, and has no state that a snapshot would
//! miss.
//!
//! A snapshot is the memory and the mutable globals at an empty call stack. So what changes a table or drops
//! a segment is refused, as are references in mutable globals, shared or imported memories, and imported
//! tables and globals. The same list is kept by wizer, which freezes modules for the same reason.

use std::ops::Range;

use wasmparser::{
    ConstExpr, DataKind, ElementKind, ExternalKind, FunctionBody, Operator, Parser, Payload, TableInit,
    TypeRef, ValType, Validator, WasmFeatures,
};

use super::abi;
use super::limits::Limits;
use super::metering;
use super::module_error::ModuleError;

const WASM_PAGE: u64 = 64 << 10;

/// The proposals that a module may use: what compilers emit for plain `wasm32`, and nothing that has state.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL);

/// What is known of a module that passed.
#[derive(Debug)]
pub(super) struct Checked {
    /// Indexes of its mutable globals.
    pub(super) mutable_globals: Vec<u32>,
    /// The start function, which runs before anything else.
    pub(super) start: Option<u32>,
    /// Whether it exports [`abi::START`].
    pub(super) has_start_entry: bool,
    /// Bytes of memory at the start.
    pub(super) memory_bytes: usize,
    /// Active data: where it goes in memory, and where its bytes are in the module.
    pub(super) data: Vec<(usize, Range<usize>)>,
}

#[derive(Default)]
struct Survey {
    types: Vec<Option<wasmparser::FuncType>>,
    /// Type of every function, imported ones first.
    functions: Vec<u32>,
    imported_functions: u32,
    bodies: u32,
    memories: Vec<wasmparser::MemoryType>,
    globals: u32,
    tables: usize,
    table_elements: u64,
    exports: Vec<(String, ExternalKind, u32)>,
    data: Vec<(usize, Range<usize>)>,
    mutable_globals: Vec<u32>,
    start: Option<u32>,
}

/// Checks a module in one pass over its bytes.
pub(super) fn check(module: &[u8], limits: &Limits) -> Result<Checked, ModuleError> {
    limit("bytes", module.len() as u64, limits.module_bytes as u64)?;
    if Parser::is_component(module) {
        return Err(ModuleError::Component);
    }
    let mut validator = Validator::new_with_features(FEATURES);
    let mut allocations = wasmparser::FuncValidatorAllocations::default();
    let mut survey = Survey::default();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        // The counts are looked at before the validator spends time on what is counted.
        survey.count(&payload, limits)?;
        match validator.payload(&payload)? {
            wasmparser::ValidPayload::Func(function, body) => {
                limit("bytes in one function", body.range().len() as u64, limits.function_bytes as u64)?;
                let mut function = function.into_validator(allocations);
                function.validate(&body)?;
                allocations = function.into_allocations();
                survey.instructions(&body)?;
            }
            wasmparser::ValidPayload::Parser(_) => return Err(ModuleError::Component),
            wasmparser::ValidPayload::Ok | wasmparser::ValidPayload::End(_) => survey.section(payload)?,
        }
    }
    survey.conclude(limits)
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), ModuleError> {
    if found > limit { Err(ModuleError::Limit { what, found, limit }) } else { Ok(()) }
}

impl Survey {
    fn count(&self, payload: &Payload<'_>, limits: &Limits) -> Result<(), ModuleError> {
        let (what, found, most) = match payload {
            Payload::TypeSection(section) => ("types", section.count(), limits.functions),
            Payload::ImportSection(section) => ("imports", section.count(), abi::HOST_FUNCTIONS.len() * 4),
            Payload::FunctionSection(section) => ("functions", section.count(), limits.functions),
            Payload::TableSection(section) => ("tables", section.count(), limits.tables),
            Payload::GlobalSection(section) => ("globals", section.count(), limits.globals),
            Payload::ExportSection(section) => ("exports", section.count(), limits.exports),
            Payload::ElementSection(section) => ("element segments", section.count(), limits.data_segments),
            Payload::DataSection(section) => ("data segments", section.count(), limits.data_segments),
            _ => return Ok(()),
        };
        limit(what, u64::from(found), most as u64)
    }

    fn section(&mut self, payload: Payload<'_>) -> Result<(), ModuleError> {
        match payload {
            Payload::TypeSection(section) => self.types(section),
            Payload::ImportSection(section) => section.into_imports_with_offsets().try_for_each(|import| {
                let (offset, import) = import?;
                self.import(&import, offset)
            }),
            Payload::FunctionSection(section) => section.into_iter().try_for_each(|function| {
                self.functions.push(function?);
                Ok(())
            }),
            Payload::TableSection(section) => self.tables(section),
            Payload::MemorySection(section) => self.memories(section),
            Payload::GlobalSection(section) => self.globals(section),
            Payload::ExportSection(section) => section.into_iter().try_for_each(|export| {
                let export = export?;
                self.exports.push((export.name.to_owned(), export.kind, export.index));
                Ok(())
            }),
            Payload::StartSection { func, .. } => {
                self.start = Some(func);
                Ok(())
            }
            Payload::ElementSection(section) => self.elements(section),
            Payload::DataSection(section) => self.data(section),
            _ => Ok(()),
        }
    }

    fn types(&mut self, section: wasmparser::TypeSectionReader<'_>) -> Result<(), ModuleError> {
        for group in section {
            for sub_type in group?.into_types() {
                self.types.push(match sub_type.composite_type.inner {
                    wasmparser::CompositeInnerType::Func(function) => {
                        let most = metering::PARAMETERS as u64;
                        limit("parameters of a function", function.params().len() as u64, most)?;
                        limit("results of a function", function.results().len() as u64, most)?;
                        Some(function)
                    }
                    _ => None,
                });
            }
        }
        Ok(())
    }

    fn tables(&mut self, section: wasmparser::TableSectionReader<'_>) -> Result<(), ModuleError> {
        for table in section.into_iter_with_offsets() {
            let (offset, table) = table?;
            if table.ty.shared {
                return Err(ModuleError::NoSnapshot { what: "a shared table", offset });
            }
            if matches!(table.init, TableInit::Expr(_)) {
                return Err(ModuleError::NoSnapshot { what: "a table with an initial value", offset });
            }
            self.tables += 1;
            self.table_elements = self.table_elements.saturating_add(table.ty.initial);
        }
        Ok(())
    }

    fn memories(&mut self, section: wasmparser::MemorySectionReader<'_>) -> Result<(), ModuleError> {
        for memory in section.into_iter_with_offsets() {
            let (offset, memory) = memory?;
            if memory.shared {
                return Err(ModuleError::NoSnapshot { what: "a shared memory", offset });
            }
            self.memories.push(memory);
        }
        Ok(())
    }

    fn globals(&mut self, section: wasmparser::GlobalSectionReader<'_>) -> Result<(), ModuleError> {
        for global in section.into_iter_with_offsets() {
            let (offset, global) = global?;
            if global.ty.mutable {
                if matches!(global.ty.content_type, ValType::Ref(_)) {
                    return Err(ModuleError::NoSnapshot {
                        what: "a mutable global that holds a reference",
                        offset,
                    });
                }
                self.mutable_globals.push(self.globals);
            }
            self.globals += 1;
        }
        Ok(())
    }

    fn elements(&mut self, section: wasmparser::ElementSectionReader<'_>) -> Result<(), ModuleError> {
        let mut elements = 0u64;
        for element in section {
            let element = element?;
            let ElementKind::Active { .. } = element.kind else { continue };
            elements += u64::from(match element.items {
                wasmparser::ElementItems::Functions(items) => items.count(),
                wasmparser::ElementItems::Expressions(_, items) => items.count(),
            });
        }
        self.table_elements = self.table_elements.max(elements);
        Ok(())
    }

    fn data(&mut self, section: wasmparser::DataSectionReader<'_>) -> Result<(), ModuleError> {
        for (segment, data) in section.into_iter().enumerate() {
            let data = data?;
            let DataKind::Active { offset_expr, .. } = data.kind else { continue };
            let start = u64::from(constant(&offset_expr)?);
            let end = start + data.data.len() as u64;
            let memory = self.memories.first().map_or(0, |memory| memory.initial * WASM_PAGE);
            if end > memory {
                return Err(ModuleError::DataOutside { segment, end, memory });
            }
            // The segment's bytes are the last thing in its range.
            let bytes = data.range.end - data.data.len()..data.range.end;
            self.data.push((start as usize, bytes));
        }
        Ok(())
    }

    fn import(&mut self, import: &wasmparser::Import<'_>, offset: usize) -> Result<(), ModuleError> {
        let what = match import.ty {
            TypeRef::Func(_) => None,
            TypeRef::Memory(_) => Some("an imported memory"),
            TypeRef::Table(_) => Some("an imported table"),
            TypeRef::Global(_) => Some("an imported global"),
            _ => Some("an import that is not a function"),
        };
        if let Some(what) = what {
            return Err(ModuleError::NoSnapshot { what, offset });
        }
        let unknown =
            || ModuleError::UnknownImport { module: import.module.to_owned(), name: import.name.to_owned() };
        let TypeRef::Func(kind) = import.ty else { return Err(unknown()) };
        let known = abi::HOST_FUNCTIONS.iter().find(|known| known.0 == import.name);
        let (name, parameters, results) =
            known.filter(|_| import.module == abi::IMPORTS).ok_or_else(unknown)?;
        self.functions.push(kind);
        self.imported_functions += 1;
        self.signature(self.functions.len() as u32 - 1, name, (parameters, results))
    }

    fn signature(
        &self,
        function: u32,
        name: &str,
        expected: (&[ValType], &[ValType]),
    ) -> Result<(), ModuleError> {
        let kind = self.functions.get(function as usize);
        let kind = kind.and_then(|kind| self.types.get(*kind as usize)?.as_ref());
        let found = kind.map_or((&[][..], &[][..]), |kind| (kind.params(), kind.results()));
        if kind.is_some() && found == expected {
            return Ok(());
        }
        Err(ModuleError::Signature { name: name.to_owned(), found: text(found), expected: text(expected) })
    }

    fn instructions(&mut self, body: &FunctionBody<'_>) -> Result<(), ModuleError> {
        let function = self.imported_functions + self.bodies;
        self.bodies += 1;
        let kind = self.functions.get(function as usize);
        let kind = kind.and_then(|kind| self.types.get(*kind as usize)?.as_ref());
        let mut locals = kind.map_or(0, |kind| kind.params().len() as u64);
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
        }
        limit("parameters and variables in one function", locals, metering::LOCALS)?;
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset()?;
            let name = match operator {
                Operator::TableSet { .. } => "table.set",
                Operator::TableGrow { .. } => "table.grow",
                Operator::TableFill { .. } => "table.fill",
                Operator::TableCopy { .. } => "table.copy",
                Operator::TableInit { .. } => "table.init",
                Operator::ElemDrop { .. } => "elem.drop",
                Operator::DataDrop { .. } => "data.drop",
                _ => continue,
            };
            return Err(ModuleError::Instruction { name, function, offset });
        }
        Ok(())
    }

    fn conclude(self, limits: &Limits) -> Result<Checked, ModuleError> {
        let [memory] = self.memories[..] else {
            return Err(ModuleError::Memories { found: self.memories.len() });
        };
        limit(
            "bytes of memory at the start",
            memory.initial.saturating_mul(WASM_PAGE),
            limits.memory_bytes as u64,
        )?;
        limit("elements of tables", self.table_elements, limits.table_elements)?;
        let data = self.data.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        limit("bytes of data at the start", data, limits.data_bytes as u64)?;
        let function = |name: &str| {
            let found = self.exports.iter().find(|(other, ..)| other == name);
            found.and_then(|(_, kind, index)| (*kind == ExternalKind::Func).then_some(*index))
        };
        if let Some((name, ..)) =
            self.exports.iter().find(|(name, ..)| name.starts_with(abi::RESERVED_PREFIX))
        {
            return Err(ModuleError::ReservedName { name: name.clone() });
        }
        let version = format!("{}{}", abi::VERSION_PREFIX, abi::VERSION);
        if function(&version).is_none() {
            let other = self.exports.iter().find_map(|(name, ..)| name.strip_prefix(abi::VERSION_PREFIX));
            return Err(match other {
                Some(found) => ModuleError::Version { found: found.to_owned() },
                None => ModuleError::MissingExport {
                    name: version,
                    hint: ": it says which version of the interface the module speaks",
                },
            });
        }
        let receive = function(abi::RECEIVE).ok_or(ModuleError::MissingExport {
            name: abi::RECEIVE.to_owned(),
            hint: ": it is called with each message",
        })?;
        self.signature(receive, abi::RECEIVE, abi::ENTRY)?;
        let start_entry = function(abi::START);
        if let Some(start) = start_entry {
            self.signature(start, abi::START, abi::ENTRY)?;
        }
        Ok(Checked {
            mutable_globals: self.mutable_globals,
            start: self.start,
            has_start_entry: start_entry.is_some(),
            memory_bytes: (memory.initial * WASM_PAGE) as usize,
            data: self.data,
        })
    }
}

/// The value of an offset: it was validated, so it is made of constants alone, since globals cannot be
/// imported.
fn constant(expression: &ConstExpr<'_>) -> Result<u32, ModuleError> {
    let mut stack = Vec::new();
    let mut reader = expression.get_operators_reader();
    while !reader.eof() {
        let operator = reader.read()?;
        let mut two = || Some((stack.pop()?, stack.pop()?));
        let value: u32 = match operator {
            Operator::I32Const { value } => value as u32,
            Operator::I32Add => two().map_or(0, |(right, left): (u32, u32)| left.wrapping_add(right)),
            Operator::I32Sub => two().map_or(0, |(right, left)| left.wrapping_sub(right)),
            Operator::I32Mul => two().map_or(0, |(right, left)| left.wrapping_mul(right)),
            _ => continue,
        };
        stack.push(value);
    }
    Ok(stack.pop().unwrap_or(0))
}

/// A function's type as people write it.
fn text((parameters, results): (&[ValType], &[ValType])) -> String {
    let list = |types: &[ValType]| {
        let names: Vec<String> = types.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    format!("({}) -> ({})", list(parameters), list(results))
}
