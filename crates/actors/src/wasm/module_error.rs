//! [`ModuleError`]: why a module cannot be an actor.

use wasmparser::BinaryReaderError;

use super::abi;

/// Why a module cannot be an actor.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Not WebAssembly, or of a kind that is switched off.
    #[error("the module is not valid WebAssembly of the kinds allowed here: {0}")]
    Invalid(#[from] BinaryReaderError),
    /// It is a component.
    #[error(
        "this is a component, and only core modules are taken: build for wasm32-unknown-unknown, without a component adapter"
    )]
    Component,
    /// More of something than is allowed.
    #[error("the module has {found} {what}, and {limit} are allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// An import that is not a host function.
    #[error(
        "the module imports {module:?} {name:?}, which is not offered: a guest reaches only the functions of {:?} that docs/reference/guest-abi.md lists",
        abi::IMPORTS
    )]
    UnknownImport {
        /// Module part of the name.
        module: String,
        /// Field part of the name.
        name: String,
    },
    /// An import or export of the interface with another type.
    #[error("{name} has the type {found}, and must have {expected}")]
    Signature {
        /// The import or export.
        name: String,
        /// Its type in the module.
        found: String,
        /// Its type in the interface.
        expected: String,
    },
    /// Something that must be exported is not.
    #[error("the module exports no function {name}, which a guest must have{hint}")]
    MissingExport {
        /// What is missing.
        name: String,
        /// What may be the reason.
        hint: &'static str,
    },
    /// It was made for another version of the interface.
    #[error(
        "the module speaks version {found} of the guest interface, and this host speaks {}: build it with a matching SDK",
        abi::VERSION
    )]
    Version {
        /// The version in the export's name.
        found: String,
    },
    /// An export with a name that is ours.
    #[error("the module exports {name:?}: names that begin with {:?} are reserved", abi::RESERVED_PREFIX)]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A part that is state outside of memory and globals, or that cannot be had without one.
    #[error("at byte {offset:#x}: {what}, which a snapshot would miss")]
    NoSnapshot {
        /// What it is.
        what: &'static str,
        /// Where, in bytes from the module's start.
        offset: usize,
    },
    /// An instruction that changes such state.
    #[error("function {function}, byte {offset:#x}: {name} changes state that a snapshot would miss")]
    Instruction {
        /// The instruction.
        name: &'static str,
        /// Index of the function.
        function: u32,
        /// Where, in bytes from the module's start.
        offset: usize,
    },
    /// A data segment that is not inside the memory.
    #[error("data segment {segment} ends at byte {end} of a memory that begins with {memory}")]
    DataOutside {
        /// Index of the segment.
        segment: usize,
        /// Where it ends.
        end: u64,
        /// Bytes of memory at the start.
        memory: u64,
    },
    /// No memory, or more than one.
    #[error("the module defines {found} memories, and a guest has exactly one")]
    Memories {
        /// How many there are.
        found: usize,
    },
    /// The compiler gave up.
    #[error("the module could not be compiled: {0}")]
    Compile(String),
}
