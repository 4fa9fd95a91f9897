//! What a module's code does about its fuel and its time. It is put into the code before it is compiled, and
//! the engine's own checks are off.
//!
//! The engine's checks call the host and go on afterwards, so each loop must have its registers ready for a
//! call. Here no event goes on after a check: one that is exhausted or late is undone. So whatever a check
//! finds, it ends in a trap.
//!
//! - *The clock.* Code loads from a second memory, the board, which the guest's own code cannot name: a
//!   module with two memories is refused. To cut off an event, the `watchdog` takes the board away, and the
//!   next load traps. It is an atomic load, since a compiler may not drop or merge those.
//! - *Fuel* is the last parameter and the last result of every function, so it lies in a register, through
//!   calls too. The host functions take and give it as well. Below zero it is used up; then the code says on
//!   the board that it stopped, and traps.
//!
//! What one turn of a loop costs is a number on the board, so one load is both the look at the clock and the
//! operand of the subtraction. (A constant would be merged with others by the compiler, which then needs two
//! registers for the fuel.)
//!
//! An instruction that copies or fills many bytes does so in pieces, with a look at the clock between them.
//!
//! [`body`] rewrites functions, [`labels`] finds out beforehand where their paths meet and where checks are
//! needed. Sections are `instrument`'s.

mod body;
mod labels;
#[cfg(test)]
mod tests;

use crate::sys::guest_memory::WORDS;
use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, EntityType, FuncType, ImportSection, MemorySection, MemoryType, TypeSection};
use wasmparser::{
    BinaryReaderError, FunctionBody, ImportSectionReader, Operator, TypeRef, TypeSectionReader, ValType,
};

use super::module_error::ModuleError;

pub(super) use body::rewrite;

/// How the time that guests use is measured and bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metering {
    /// By fuel, exactly and the same in every run: one unit an instruction, and one a byte that an
    /// instruction or a host function copies. The clock cuts off what runs too long as well.
    #[default]
    Fuel,
    /// By the clock alone: events are cut off, and their cycles are what the host measures.
    Epoch,
    /// Not at all, and nothing ends an endless loop: only to measure what the others cost.
    None,
}

/// Index of the board, behind the guest's only memory.
const BOARD: u32 = 1;
/// The word of the board in which the code says that its fuel is used up: by any number but 0.
pub(super) const STOPPED_WORD: usize = 1;
/// Costs of turns that the board tells: the cost 1 is in the word behind `STOPPED_WORD`, and so on to the end
/// of the page.
const COSTS: usize = WORDS - 1 - STOPPED_WORD;

/// Where on the board a word is.
const fn offset(word: usize) -> u64 {
    (word * size_of::<i64>()) as u64
}

/// Writes to a new board what the code expects there.
pub(super) fn prepare(mut set_word: impl FnMut(usize, i64)) {
    (1..=COSTS).for_each(|cost| set_word(STOPPED_WORD + cost, cost as i64));
}

/// Parameters and results that a function may have: one less than WebAssembly allows, as fuel is one of each.
pub(super) const PARAMETERS: usize = 999;
/// Parameters and variables that a function may have: less than WebAssembly allows by one for fuel and three
/// to move operands.
pub(super) const LOCALS: u64 = 49_996;
/// Bytes that an instruction copies between two looks at the clock. Pages that are written for the first time
/// may take ten times as long as bytes do.
const PIECE: i32 = 64 << 10;

/// The signatures of a module, as they are rewritten.
pub(super) struct Signatures {
    metering: Metering,
    types: Vec<wasmparser::FuncType>,
    /// For types with several results, a type with these results and no parameters: that of a block.
    blocks: Vec<Option<u32>>,
    /// Type of every function, imported ones first.
    functions: Vec<u32>,
    imported: u32,
    /// Of the functions that the module defines, whether they are checked as they begin.
    checked: Vec<bool>,
    /// Functions that were rewritten.
    rewritten: u32,
}

/// Fuel for one instruction, beside what it copies.
fn cost(operator: &Operator<'_>) -> i64 {
    match operator {
        Operator::Nop
        | Operator::Drop
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Else
        | Operator::End
        | Operator::Return
        | Operator::Unreachable => 0,
        _ => 1,
    }
}

/// A module that was validated can be written again.
fn unwritable(error: &Error<std::convert::Infallible>) -> ModuleError {
    ModuleError::Compile(format!("a part of it cannot be written again: {error}"))
}

impl Signatures {
    pub(super) fn new(metering: Metering) -> Self {
        let (types, blocks, functions) = (Vec::new(), Vec::new(), Vec::new());
        Self { metering, types, blocks, functions, imported: 0, checked: Vec::new(), rewritten: 0 }
    }

    /// Looks at a function before the first one is rewritten, in their order.
    pub(super) fn survey(&mut self, body: &FunctionBody<'_>) -> Result<(), BinaryReaderError> {
        self.checked.push(labels::is_checked_at_entry(body, self.imported)?);
        Ok(())
    }

    /// Whether something is checked whenever this function is called: so it is before each call of the host.
    fn is_checked(&self, function: u32) -> bool {
        function.checked_sub(self.imported).is_none_or(|index| self.checked[index as usize])
    }

    /// Whether functions take and give fuel.
    fn counts(&self) -> bool {
        self.metering == Metering::Fuel
    }

    /// The index of a function type with fuel.
    fn metered(&self, index: u32) -> u32 {
        if self.counts() { self.types.len() as u32 + index } else { index }
    }

    fn of(&self, function: u32) -> &wasmparser::FuncType {
        &self.types[self.functions[function as usize] as usize]
    }

    /// The type of a block that gives what a function without fuel gives.
    fn block(&self, function: u32) -> Result<BlockType, ModuleError> {
        let index = self.functions[function as usize] as usize;
        Ok(match (self.types[index].results(), self.blocks[index]) {
            (_, Some(block)) => BlockType::FunctionType(block),
            ([one], _) => {
                BlockType::Result(RoundtripReencoder.val_type(*one).map_err(|error| unwritable(&error))?)
            }
            _ => BlockType::Empty,
        })
    }

    /// The types as they are, then all with fuel, then those of blocks.
    pub(super) fn type_section(
        &mut self,
        section: TypeSectionReader<'_>,
    ) -> Result<TypeSection, ModuleError> {
        for group in section {
            for sub_type in group?.into_types() {
                match sub_type.composite_type.inner {
                    wasmparser::CompositeInnerType::Func(function) => self.types.push(function),
                    _ => return Err(ModuleError::Compile("it has a type that is no function's".to_owned())),
                }
            }
        }
        let mut output = TypeSection::new();
        let mut add = |parameters: &[ValType], results: &[ValType], fuel: bool| {
            let fuel = fuel.then_some(ValType::I64);
            let all = |types: &[ValType]| {
                let types = types.iter().copied().chain(fuel);
                types.map(|one| RoundtripReencoder.val_type(one)).collect::<Result<Vec<_>, _>>()
            };
            let function = FuncType::new(
                all(parameters).map_err(|error| unwritable(&error))?,
                all(results).map_err(|error| unwritable(&error))?,
            );
            output.ty().func_type(&function);
            Ok::<_, ModuleError>(())
        };
        for one in &self.types {
            add(one.params(), one.results(), false)?;
        }
        if self.metering == Metering::Fuel {
            for one in &self.types {
                add(one.params(), one.results(), true)?;
            }
        }
        let mut next = self.metered(self.types.len() as u32);
        for one in &self.types {
            let several = one.results().len() > 1;
            if several {
                add(&[], one.results(), false)?;
            }
            self.blocks.push(several.then_some(next));
            next += u32::from(several);
        }
        Ok(output)
    }

    /// The imports, which are functions all.
    pub(super) fn import_section(
        &mut self,
        section: ImportSectionReader<'_>,
    ) -> Result<ImportSection, ModuleError> {
        let mut output = ImportSection::new();
        for import in section.into_imports() {
            let import = import?;
            let TypeRef::Func(index) = import.ty else {
                return Err(ModuleError::Compile("it imports what is no function".to_owned()));
            };
            self.functions.push(index);
            self.imported += 1;
            output.import(import.module, import.name, EntityType::Function(self.metered(index)));
        }
        Ok(output)
    }

    /// The types of the functions that the module defines.
    pub(super) fn function_section(
        &mut self,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<wasm_encoder::FunctionSection, BinaryReaderError> {
        let mut output = wasm_encoder::FunctionSection::new();
        for index in section {
            let index = index?;
            self.functions.push(index);
            output.function(self.metered(index));
        }
        Ok(output)
    }

    /// The guest's memory, and the board.
    pub(super) fn memory_section(
        &self,
        section: wasmparser::MemorySectionReader<'_>,
    ) -> Result<MemorySection, ModuleError> {
        let mut output = MemorySection::new();
        for memory in section {
            output.memory(RoundtripReencoder.memory_type(memory?).map_err(|error| unwritable(&error))?);
        }
        if self.metering != Metering::None {
            output.memory(MemoryType {
                minimum: 1,
                maximum: Some(1),
                memory64: false,
                shared: false,
                page_size_log2: None,
            });
        }
        Ok(output)
    }
}
