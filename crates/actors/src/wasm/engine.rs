//! [`Engine`]: compiles modules and holds what their actors share. [`Module`]: one that was checked and
//! compiled.
//!
//! Compiling takes time in proportion to the module: it is done outside of events.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::model::behaviour::refuse;
use crate::processor::dispatching;
use crate::sys::guest_memory::ImageFile;
use parking_lot::Mutex;
use wasmparser::WasmFeatures;
use wasmtime::{Config, Engine as Wasmtime, InstancePre, Linker, ModuleExport, OptLevel};

use super::abi;
use super::compiling::Modules;
use super::host_functions::{self, EventState};
use super::instrument::{self, global_name, instrument, memory_name};
use super::limits::Limits;
use super::memory::{GUARD_BYTES, OfferedMemory, RESERVED_BYTES, WindowPool};
use super::metering::Metering;
use super::module_error::ModuleError;
use super::validator;
use super::watchdog;

/// Bytes of a module that is compiled while no other of them is.
const LARGE: usize = 64 << 10;

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How time is measured.
    pub metering: Metering,
    /// What a module may demand.
    pub limits: Limits,
    /// The longest that one event may keep its host from the neighbours, in processor time: an event is not
    /// interrupted and resumed. Its code has three quarters of that, less up to a millisecond; the rest is
    /// for carrying out what it asked for and keeping what it wrote.
    pub event_time: Duration,
    /// Actors that have had an event and are not gone, at a time.
    pub actors: usize,
    /// Instances at a time. An actor beyond these is put away after each event and has its state mapped again
    /// for the next one, which costs a few microseconds. Each takes four of the kernel's mappings
    /// (`vm.max_map_count`).
    pub instances: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let event_time = Duration::from_millis(10);
        Self {
            metering: Metering::Fuel,
            limits: Limits::default(),
            event_time,
            actors: 65_536,
            instances: 8_192,
        }
    }
}

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The compiler's configuration does not hold on this machine.
    #[error("WebAssembly cannot run here: {0}")]
    Unsupported(String),
    /// No memory for images.
    #[error(
        "memory for {actors} guests of up to {bytes} bytes could not be reserved: {source}; allow fewer or smaller ones"
    )]
    Memory {
        /// How many.
        actors: usize,
        /// How large.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Compiles modules. A process needs one, or one for each kind of metering.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasmtime: Wasmtime,
    linker: Linker<EventState>,
    options: EngineOptions,
    windows: Arc<WindowPool>,
    instances: AtomicUsize,
    /// Held while a large module is compiled, so that what that takes is not taken twice.
    compiling: Mutex<()>,
    modules: Mutex<Modules>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Engine").field(&self.0.options).finish()
    }
}

impl Engine {
    /// An engine.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let unsupported = |error: wasmtime::Error| EngineError::Unsupported(format!("{error:#}"));
        let wasmtime = Wasmtime::new(&configuration(options.metering)).map_err(unsupported)?;
        let mut linker = Linker::new(&wasmtime);
        host_functions::add_to(&mut linker, options.metering == Metering::Fuel).map_err(unsupported)?;
        let (actors, bytes) = (options.actors, options.limits.memory_bytes);
        let file = ImageFile::new(actors, bytes);
        let file = file.map_err(|source| EngineError::Memory { actors, bytes, source })?;
        watchdog::start();
        let instances = AtomicUsize::new(0);
        Ok(Self(Arc::new(Inner {
            wasmtime,
            linker,
            options,
            windows: WindowPool::new(file),
            instances,
            compiling: Mutex::default(),
            modules: Mutex::default(),
        })))
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.0.options
    }

    pub(super) fn wasmtime(&self) -> &Wasmtime {
        &self.0.wasmtime
    }

    pub(super) fn windows(&self) -> &Arc<WindowPool> {
        &self.0.windows
    }

    /// Instances that there are.
    pub(super) fn instances(&self) -> &AtomicUsize {
        &self.0.instances
    }

    pub(super) fn modules(&self) -> &Mutex<Modules> {
        &self.0.modules
    }

    /// Checks and compiles a module, given as its bytes. It takes long: an event that calls it fails, and an
    /// actor asks for it ([`Work::compile`](crate::Work::compile)).
    ///
    /// # Errors
    /// [`ModuleError`] says what is wrong with it, and where.
    pub fn compile(&self, bytes: &[u8]) -> Result<Module, ModuleError> {
        if dispatching::is_inside_event() {
            refuse(
                "a module is not compiled inside an event, which would hold up its host: use `Work::compile`",
            );
        }
        let _large = (bytes.len() > LARGE).then(|| self.0.compiling.lock());
        let checked = validator::check(bytes, &self.0.options.limits)?;
        let instrumented = instrument(bytes, &checked, self.0.options.metering)?;
        let failed = |error: wasmtime::Error| ModuleError::Compile(format!("{error:#}"));
        let compiled = wasmtime::Module::new(&self.0.wasmtime, &instrumented).map_err(failed)?;
        let export = |name: &str| {
            let missing = || ModuleError::Compile(format!("the rewritten module exports no {name:?}"));
            compiled.get_export_index(name).ok_or_else(missing)
        };
        let mut globals = Vec::with_capacity(checked.mutable_globals.len());
        for index in &checked.mutable_globals {
            globals.push(export(&global_name(*index))?);
        }
        let module = ModuleInner {
            engine: self.clone(),
            digest: digest(bytes),
            memory: export(&memory_name())?,
            globals,
            start_function: checked.start.map(|_| export(&instrument::start_name())).transpose()?,
            start: checked.has_start_entry.then(|| export(abi::START)).transpose()?,
            receive: export(abi::RECEIVE)?,
            memory_bytes: checked.memory_bytes,
            data: checked.data.into_iter().map(|(offset, range)| (offset, bytes[range].to_vec())).collect(),
            instance: self.0.linker.instantiate_pre(&compiled).map_err(failed)?,
        };
        Ok(Module(Arc::new(module)))
    }
}

fn configuration(metering: Metering) -> Config {
    let mut config = Config::new();
    // The validator has decided on the proposals; the engine's own switches say the same once more, but for
    // what `metering` needs.
    let features = match metering {
        Metering::None => validator::FEATURES,
        _ => validator::FEATURES | WasmFeatures::MULTI_MEMORY | WasmFeatures::THREADS,
    };
    config.wasm_features(features, true);
    config.wasm_features(features.complement(), false);
    config.gc_support(false);
    config.cranelift_opt_level(OptLevel::Speed);
    // Which NaN an operation gives is the processor's choice otherwise, and an actor would see it.
    config.cranelift_nan_canonicalization(true);
    config.with_host_memory(Arc::new(OfferedMemory));
    config.memory_reservation(RESERVED_BYTES as u64);
    config.memory_guard_size(GUARD_BYTES as u64);
    config.guard_before_linear_memory(false);
    config.memory_may_move(false);
    // Modules have no active data left, so there is nothing to map for the engine.
    config.memory_init_cow(false);
    config
}

/// Names a module by its bytes: FNV-1a over 128 bits. It tells modules apart; it does not vouch for them.
fn digest(bytes: &[u8]) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let start = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let digest = bytes.iter().fold(start, |digest, byte| (digest ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("wasm:{digest:032x}")
}

/// A module that may become actors, any number of them.
#[derive(Clone)]
pub struct Module(pub(super) Arc<ModuleInner>);

pub(super) struct ModuleInner {
    pub(super) engine: Engine,
    pub(super) digest: String,
    pub(super) memory: ModuleExport,
    pub(super) globals: Vec<ModuleExport>,
    pub(super) start_function: Option<ModuleExport>,
    pub(super) start: Option<ModuleExport>,
    pub(super) receive: ModuleExport,
    pub(super) memory_bytes: usize,
    pub(super) data: Vec<(usize, Vec<u8>)>,
    pub(super) instance: InstancePre<EventState>,
}

impl Module {
    /// Names the module by its content.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Bytes of memory that each of its actors begins with.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes
    }

    /// Bytes of data that are in that memory.
    pub(super) fn data_bytes(&self) -> usize {
        self.0.data.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Mutable globals, which are kept beside the memory.
    #[must_use]
    pub fn globals(&self) -> usize {
        self.0.globals.len()
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Module").field(&self.0.digest).finish()
    }
}

impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
