//! [`Instance`]: a module with an actor's memory mapped and its globals set, ready to be
//! [`run`](Instance::run).
//!
//! It can be dropped at any moment between events and made again from what is kept: that is how an actor is
//! put away, and how a failed event is undone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wasmtime::{Extern, Func, Global as GlobalExport, ModuleExport, Store, Trap, TypedFunc, Val};

use crate::sys::guest_memory::Image;

use super::engine::{Engine, Module};
use super::host_functions::EventState;
use super::memory::Mapped;
use super::metering::Metering;
use super::state::Global;
use super::watchdog;

/// A function that takes a message: behaviour, bytes, addresses.
enum Shared {
    Plain(TypedFunc<(u32, u32, u32), ()>),
    /// It takes and gives fuel, too.
    Counting(TypedFunc<(u32, u32, u32, i64), i64>),
}

struct Entries {
    receive: Shared,
    start: Option<Shared>,
    start_function: Option<Func>,
}

/// What an instance is made from.
pub(super) struct Restore<'a> {
    pub(super) image: &'a Image,
    /// Bytes of memory.
    pub(super) memory: usize,
    /// Values of the mutable globals; `None` before the first event, when they are as the module has them.
    pub(super) globals: Option<&'a [Global]>,
}

pub(super) struct Instance {
    // The store is dropped before the memory that its code refers to goes back into the pool.
    pub(super) store: Store<EventState>,
    mapped: Mapped,
    globals: Vec<GlobalExport>,
    entries: Entries,
    _counted: Counted,
}

/// An instance that runs.
pub(super) struct Running<'a> {
    store: &'a mut Store<EventState>,
    entries: &'a Entries,
}

/// Counts an instance of an engine.
struct Counted(Engine);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.instances().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Instance {
    /// Maps the memory and sets the globals; no code of the guest's runs.
    pub(super) fn new(module: &Module, restore: &Restore<'_>) -> wasmtime::Result<Self> {
        let inner = &module.0;
        let engine = &inner.engine;
        let mapped = engine.windows().map(restore.image, restore.memory).map_err(wasmtime::Error::new)?;
        let state = EventState {
            metered: engine.options().metering == Metering::Fuel,
            memory_limit: engine.options().limits.memory_bytes,
            ..EventState::default()
        };
        let mut store = Store::new(engine.wasmtime(), state);
        store.limiter(|state| state);
        let offer = mapped.offer();
        let instance = inner.instance.instantiate(&mut store)?;
        drop(offer);
        let missing =
            || wasmtime::Error::msg("an export that was there when the module was compiled is missing");
        let Some(Extern::Memory(memory)) = instance.get_module_export(&mut store, &inner.memory) else {
            return Err(missing());
        };
        store.data_mut().memory = Some(memory);
        let mut globals = Vec::with_capacity(inner.globals.len());
        for (index, export) in inner.globals.iter().enumerate() {
            let Some(Extern::Global(global)) = instance.get_module_export(&mut store, export) else {
                return Err(missing());
            };
            if let Some(values) = restore.globals {
                let value = values.get(index).ok_or_else(missing)?;
                global.set(&mut store, value.value())?;
            }
            globals.push(global);
        }
        let mut function = |export: &ModuleExport| match instance.get_module_export(&mut store, export) {
            Some(Extern::Func(function)) => Ok(function),
            _ => Err(missing()),
        };
        let receive = function(&inner.receive)?;
        let start = inner.start.as_ref().map(&mut function).transpose()?;
        let start_function = inner.start_function.as_ref().map(function).transpose()?;
        let entries = Entries {
            receive: Shared::new(&receive, &store)?,
            start: start.map(|start| Shared::new(&start, &store)).transpose()?,
            start_function,
        };
        engine.instances().fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(engine.clone());
        Ok(Self { store, mapped, globals, entries, _counted })
    }

    /// Does what an event does, and stops it when it has used the processor time that is allowed, or its
    /// fuel.
    pub(super) fn run(
        &mut self,
        allowed: Duration,
        event: impl FnOnce(&mut Running<'_>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<()> {
        let Self { store, mapped, entries, .. } = self;
        mapped.begin_run();
        let gate = mapped.gate();
        let (result, cut_off) =
            watchdog::run(&gate, allowed, || event(&mut Running { store: &mut *store, entries }));
        let cut_off = cut_off?;
        let stopped = mapped.end_run();
        let Err(error) = result else { return Ok(()) };
        // Other traps are the guest's own, but for a wrong address in the moment in which it is cut off.
        match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) if stopped => {
                store.data_mut().fuel = 0;
                Err(Trap::OutOfFuel.into())
            }
            Some(Trap::MemoryOutOfBounds) if cut_off => Err(Trap::Interrupt.into()),
            _ => Err(error),
        }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.mapped.length()
    }

    /// Pages that the last event wrote, as far as that is known.
    pub(super) fn written(&self) -> std::io::Result<usize> {
        self.mapped.written()
    }

    /// Copies what the last event wrote to the image, and calls `found` with the number of each page.
    pub(super) fn capture(&mut self, image: &mut Image, found: &mut dyn FnMut(usize)) -> std::io::Result<()> {
        self.mapped.capture(image, found)
    }

    /// The values of the mutable globals.
    pub(super) fn globals_into(&mut self, values: &mut Vec<Global>) {
        values.clear();
        let store = &mut self.store;
        values.extend(self.globals.iter().filter_map(|global| Global::of(&global.get(&mut *store))));
    }
}

impl Shared {
    fn new(function: &Func, store: &Store<EventState>) -> wasmtime::Result<Self> {
        Ok(match store.data().metered {
            true => Self::Counting(function.typed(store)?),
            false => Self::Plain(function.typed(store)?),
        })
    }

    fn call(&self, store: &mut Store<EventState>, message: (u32, u32, u32)) -> wasmtime::Result<()> {
        match self {
            Self::Plain(function) => function.call(store, message),
            Self::Counting(function) => {
                let (behaviour, bytes, addresses) = message;
                let fuel = store.data().fuel;
                let left = function.call(&mut *store, (behaviour, bytes, addresses, fuel))?;
                keep_fuel(store, left)
            }
        }
    }
}

/// The fuel that a function gave back. It may have used a little more than there was.
fn keep_fuel(store: &mut Store<EventState>, left: i64) -> wasmtime::Result<()> {
    store.data_mut().fuel = left.max(0);
    if left < 0 { Err(Trap::OutOfFuel.into()) } else { Ok(()) }
}

impl Running<'_> {
    pub(super) fn state(&mut self) -> &mut EventState {
        self.store.data_mut()
    }

    /// Calls the module's start function, if it has one.
    pub(super) fn start_function(&mut self) -> wasmtime::Result<()> {
        let Some(function) = &self.entries.start_function else { return Ok(()) };
        if !self.store.data().metered {
            return function.call(&mut *self.store, &[], &mut []);
        }
        let mut left = [Val::I64(0)];
        let fuel = self.store.data().fuel;
        function.call(&mut *self.store, &[Val::I64(fuel)], &mut left)?;
        keep_fuel(self.store, left[0].unwrap_i64())
    }

    /// Tells the module what its actor begins with, if it wants to know.
    pub(super) fn start(&mut self, message: (u32, u32, u32)) -> wasmtime::Result<()> {
        let Some(start) = &self.entries.start else { return Ok(()) };
        start.call(self.store, message)
    }

    /// Hands the module a message.
    pub(super) fn receive(&mut self, message: (u32, u32, u32)) -> wasmtime::Result<()> {
        self.entries.receive.call(self.store, message)
    }
}
