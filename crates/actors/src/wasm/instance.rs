//! [`Instance`]: a module with an actor's memory mapped and its globals set, ready to be called.
//!
//! It can be dropped at any moment between events and made again from what is kept: that is how an actor is put away, and
//! how a failed event is undone.

use std::sync::atomic::Ordering;

use wasmtime::{AsContextMut, Extern, Global as GlobalExport, ModuleExport, Store, TypedFunc};

use banyan_sys::guest_memory::Image;

use super::engine::{Engine, Metering, Module};
use super::host_functions::EventState;
use super::memory::Mapped;
use super::state::Global;
use super::watchdog::judge;

/// The type of the functions that take a message: behaviour, bytes, addresses.
pub(super) type Entry = TypedFunc<(u32, u32, u32), ()>;

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
    pub(super) receive: Entry,
    pub(super) start: Option<Entry>,
    pub(super) start_function: Option<TypedFunc<(), ()>>,
    _counted: Counted,
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
        let event_time = engine.options().event_time;
        store.epoch_deadline_callback(move |mut store| judge(&mut store.data_mut().clock_ns, event_time));
        mapped.offer();
        let instance = inner.instance.instantiate(&mut store)?;
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
        fn function<P: wasmtime::WasmParams>(
            store: &mut Store<EventState>,
            instance: wasmtime::Instance,
            export: &ModuleExport,
        ) -> wasmtime::Result<TypedFunc<P, ()>> {
            match instance.get_module_export(store.as_context_mut(), export) {
                Some(Extern::Func(function)) => function.typed(store),
                _ => Err(wasmtime::Error::msg("an exported function is missing")),
            }
        }
        let receive = function(&mut store, instance, &inner.receive)?;
        let start = inner.start.as_ref().map(|export| function(&mut store, instance, export)).transpose()?;
        let start_function = inner.start_function.as_ref();
        let start_function =
            start_function.map(|export| function(&mut store, instance, export)).transpose()?;
        engine.instances().fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(engine.clone());
        Ok(Self { store, mapped, globals, receive, start, start_function, _counted })
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.mapped.length()
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
