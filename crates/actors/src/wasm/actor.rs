//! `WasmActor`: a module as the behaviour of one actor.
//!
//! Between events an actor is what was kept after the last event that completed: image of its memory,
//! globals, handles. Its instance is a cache of that. When an event fails, the instance is dropped, and the
//! next event gets a new one: so there is one way back to a state, and it is the same for a failed event, an
//! idle actor and a restart.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::abi;
use super::engine::Module;
use super::failure::{failure, no_room, too_long};
use super::handles::Shared;
use super::host_functions::{Effect, EventState, Target};
use super::instance::Instance;
use super::kept::{Creation, Kept, mark};
use super::metering::Metering;
use super::state;
use super::time::{Before, Left, Spent};
use crate::model::address::{Address, Local};
use crate::model::behaviour::{Behaviour, Failure};
use crate::model::context::Context;
use crate::model::message::{Message, Packet};
use crate::model::saved::Saved;
use crate::sponsors::lease::SIMULATED_EVENT_CYCLES;

/// Fuel for each page that an event has written: finding, copying and protecting it again is the host's work.
const PAGE_FUEL: u64 = 3_000;
/// Bytes of memory whose pages take time to copy: what was written of a larger one is counted before.
const MANY_PAGES: usize = 4 << 20;

/// An actor whose behaviour is a WebAssembly module.
pub(super) struct WasmActor {
    module: Module,
    /// What it was created with, until the first event has completed.
    creation: Option<Creation>,
    /// What the last completed event left.
    kept: Option<Kept>,
    instance: Option<Instance>,
    /// The kernel did not say which pages an event wrote: the image can no longer be trusted.
    broken: bool,
}

impl WasmActor {
    pub(super) fn created(module: Module, creation: Creation) -> Self {
        Self { module, creation: Some(creation), kept: None, instance: None, broken: false }
    }

    pub(super) fn restored(module: Module, kept: Kept, instance: Instance) -> Self {
        Self { module, creation: None, kept: Some(kept), instance: Some(instance), broken: false }
    }
}

impl fmt::Debug for WasmActor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WasmActor").field("module", &self.module).finish_non_exhaustive()
    }
}

impl WasmActor {
    fn event(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        if self.broken {
            return Err(Failure::because(
                "the actor's state was lost when the kernel failed to report its pages",
            ));
        }
        let packet = message.to_packet()?;
        let begun = Instant::now();
        let data = if self.kept.is_none() { self.module.data_bytes() } else { 0 };
        let before = Before::copying(data);
        if self.kept.is_none() {
            let behaviour = self.creation.as_ref().map_or(0, |creation| creation.behaviour);
            let kept = Kept::fresh(&self.module, behaviour);
            self.kept = Some(kept.map_err(|error| no_room(&self.module, &error))?);
        }
        let Some(kept) = &mut self.kept else { return Err(Failure::because("the actor has no state")) };
        if self.instance.is_none() {
            let instance = Instance::new(&self.module, &kept.restore());
            let error =
                |error| Failure::because(format!("the actor could not be put into memory: {error:#}"));
            self.instance = Some(instance.map_err(error)?);
        }
        let Some(instance) = &mut self.instance else { return Err(Failure::because("no instance")) };
        let fuel = begin(instance, kept, context);
        let event_time = self.module.0.engine.options().event_time;
        let allowed = before.code(event_time);
        let code_begun = Instant::now();
        let result = call(instance, allowed, kept.behaviour, self.creation.as_ref(), packet);
        let mut cycles = end(instance, kept, fuel);
        if result.is_err() && fuel > 0 {
            // Compiled code keeps the count in a register, which is lost where it traps: then the time
            // counts.
            let time = match context.facilities.clock.is_simulated() {
                true => SIMULATED_EVENT_CYCLES,
                false => u64::try_from(code_begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
            };
            cycles = cycles.max(time).min(fuel);
        }
        let mut left = Left::behind(event_time, begun.elapsed(), instance.store.data().effects.len());
        emit(instance.store.data_mut(), context);
        context.charge_cycles(cycles)?;
        result.map_err(|error| failure(&error, &self.module))?;
        if instance.memory() > MANY_PAGES {
            let pages = instance.written().unwrap_or(usize::MAX);
            left.set_aside(pages).map_err(|Spent| too_long(&self.module))?;
        }
        let created = apply(instance.store.data_mut(), &self.module, &left, context)?;
        let mut pages = 0;
        let mut note = |page| {
            mark(&mut kept.written, page);
            pages += 1;
        };
        if let Err(error) = instance.capture(&mut kept.image, &mut note) {
            self.broken = true;
            return Err(Failure::because(format!("the actor's memory could not be captured: {error}")));
        }
        // Nothing fails from here.
        if instance.store.data().metered {
            context.overdraw_cycles(pages * PAGE_FUEL);
        }
        context.running.effects.changed = context.running.changed.is_some();
        kept.memory = instance.memory();
        instance.globals_into(kept.globals.get_or_insert_default());
        kept.handles.resolve(&created);
        kept.handles.keep();
        if let Some(next) = instance.store.data().next_behaviour {
            kept.behaviour = next;
        }
        self.creation = None;
        let engine = &self.module.0.engine;
        if engine.instances().load(Ordering::Relaxed) > engine.options().instances {
            self.instance = None;
        }
        Ok(())
    }
}

/// Prepares an event; gives the fuel that it starts with.
fn begin(instance: &mut Instance, kept: &mut Kept, context: &Context<'_>) -> u64 {
    let state = instance.store.data_mut();
    std::mem::swap(&mut state.handles, &mut kept.handles);
    state.this = Some(context.this());
    state.time_ns = time_ns(context);
    state.effects.clear();
    state.created = 0;
    state.next_behaviour = None;
    state.log.clear();
    state.log_dropped = 0;
    state.memory_left = context.left.memory;
    state.grown = 0;
    state.running = true;
    if !state.metered {
        return 0;
    }
    // Half of what a register holds, so that no sum of costs can exceed it.
    let fuel = context.cycles_left().min(i64::MAX as u64 / 2);
    state.fuel = fuel as i64;
    fuel
}

/// Calls the guest: with what it was created with if this is its first event, and with the message.
fn call(
    instance: &mut Instance,
    allowed: Duration,
    behaviour: u32,
    creation: Option<&Creation>,
    packet: Packet,
) -> wasmtime::Result<()> {
    instance.run(allowed, |running| {
        if let Some(creation) = creation {
            running.start_function()?;
            let (bytes, addresses) = (creation.bytes.clone(), creation.addresses.clone());
            let (bytes, addresses) = running.state().begin_message(bytes, addresses)?;
            running.start((creation.behaviour, bytes, addresses))?;
        }
        let state = running.state();
        // What it is started with may choose another behaviour for its first message.
        let behaviour = state.next_behaviour.unwrap_or(behaviour);
        let (bytes, addresses) = state.begin_message(packet.bytes, packet.addresses)?;
        running.receive((behaviour, bytes, addresses))
    })
}

/// Ends an event, however it went; gives the fuel that it used.
fn end(instance: &mut Instance, kept: &mut Kept, fuel: u64) -> u64 {
    let state = instance.store.data_mut();
    std::mem::swap(&mut state.handles, &mut kept.handles);
    state.running = false;
    state.message = Vec::new();
    state.addresses = Vec::new();
    fuel.saturating_sub(u64::try_from(state.fuel).unwrap_or(0))
}

/// Carries out what the guest asked for; gives the addresses of the actors that it created.
fn apply(
    state: &mut EventState,
    module: &Module,
    left: &Left,
    context: &mut Context<'_>,
) -> Result<Vec<Address>, Failure> {
    context.charge_memory(state.grown)?;
    let mut created: Vec<Address> = Vec::new();
    let address = |target: &Target, created: &[Address], this: &Context<'_>| match target {
        Shared::Address(address) => address.clone(),
        // An actor is created before anything can refer to it.
        Shared::Created(number) => created.get(*number as usize).cloned().unwrap_or_else(|| this.this()),
        Shared::This => this.this(),
    };
    for (number, effect) in state.effects.drain(..).enumerate() {
        left.check(number).map_err(|Spent| too_long(module))?;
        match effect {
            Effect::Send { target, bytes, addresses } => {
                let addresses = addresses.iter().map(|target| address(target, &created, context)).collect();
                let target = address(&target, &created, context);
                context.deliver(&target, Message::from_packet(Packet { bytes, addresses }))?;
            }
            Effect::Create { behaviour, bytes, addresses } => {
                let addresses = addresses.iter().map(|target| address(target, &created, context)).collect();
                let actor = module.actor(behaviour, Packet { bytes, addresses });
                created.push(context.create(actor)?);
            }
        }
    }
    Ok(created)
}

/// What a guest wrote goes to the system's log, whether its event completed or not.
fn emit(state: &mut EventState, context: &Context<'_>) {
    if state.log.is_empty() {
        return;
    }
    let name = &*context.running.name;
    let Local { slot, generation, .. } = context.running.local_of(context.slot);
    let from = format!("{name} actor {slot}.{generation}");
    for (level, line) in state.log.drain(..) {
        context.facilities.log_of(name, || format!("{from} {level:?}: {}", on_one_line(&line)));
    }
    if state.log_dropped > 0 {
        let more = state.log_dropped;
        context.facilities.log_of(name, || format!("{from}: {more} more lines of this event are dropped"));
    }
}

/// A guest's text without what would break the line or the terminal. It is cut where it gets longer than a
/// text may be.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if line.len() >= abi::TEXT_BYTES as usize {
            line.push('…');
            break;
        }
        match character {
            '"' | '\'' | '\\' => line.extend(character.escape_debug()),
            ' '..='~' => line.push(character),
            other => line.extend(other.escape_debug()),
        }
    }
    line
}

/// When the event begins, for the guest: a simulated system has no other clock than its own.
fn time_ns(context: &Context<'_>) -> u64 {
    if context.facilities.clock.is_simulated() {
        return context.now();
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// An event under way: unless it completed, the actor is as it was before when this goes, also if something
/// unwinds.
struct Undo<'a> {
    actor: &'a mut WasmActor,
    completed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        let WasmActor { module, creation, kept, instance, .. } = &mut *self.actor;
        if let (Some(mut instance), Some(kept)) = (instance.take(), kept.as_mut()) {
            let state = instance.store.data_mut();
            module.0.engine.windows().drop_bytes(state.take_bytes());
            if state.running {
                // It unwound out of the guest, which still has the table.
                std::mem::swap(&mut state.handles, &mut kept.handles);
            }
        }
        match kept {
            Some(kept) if creation.is_none() => kept.handles.undo(),
            kept => *kept = None,
        }
    }
}

impl Behaviour for WasmActor {
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        let mut undo = Undo { actor: self, completed: false };
        let result = undo.actor.event(message, context);
        undo.completed = result.is_ok();
        result
    }

    fn save(&mut self) -> Option<Saved> {
        let saved = match (&self.creation, &self.kept) {
            (Some(Creation { behaviour, bytes, addresses }), _) => state::Saved::Fresh {
                behaviour: *behaviour,
                bytes: bytes.clone(),
                addresses: addresses.clone(),
            },
            (None, Some(kept)) if !self.broken => kept.saved(),
            _ => return None,
        };
        Some(Saved { kind: self.module.digest().to_owned(), state: Packet::encode_own(&saved).ok()? })
    }

    fn can_be_kept(&self) -> bool {
        true
    }

    fn meters_itself(&self) -> bool {
        self.module.0.engine.options().metering == Metering::Fuel
    }

    fn size(&self) -> u64 {
        let told = self
            .creation
            .as_ref()
            .map_or(0, |creation| creation.bytes.len() + creation.addresses.len() * size_of::<Address>());
        (size_of::<Self>() + self.module.memory_bytes() + told) as u64
    }
}
