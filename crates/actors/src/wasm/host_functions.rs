//! The functions that a guest may call, and the state of the event under way that they work on.
//!
//! No function blocks, and each is paid for before it does its work. A metered module hands over its fuel as
//! the last argument, and gets what is left as the last result ([`metering`](super::metering)). Whatever a
//! guest passes is checked: pointers and lengths against its memory, handles against its table. A wrong one
//! ends the event with words that say what was wrong; there are no error codes.
//!
//! Effects are collected here and carried out by `actor` when the guest has returned.

use wasmtime::{Caller, Error, Linker, Memory, ResourceLimiter};

use banyan_core::sponsors::Resource;

use super::abi;
use super::handles::{Full, Handles, Shared};
use crate::model::address::Address;

/// Fuel for any host call, on top of what it copies: about what one costs in instructions.
const CALL_FUEL: u64 = 100;
/// Fuel for what leads to work of the host after the event: a message or an actor.
const EFFECT_FUEL: u64 = 1_000;
/// Bytes of a message that it takes time to give back.
const LONG: usize = 64 << 10;
/// Bytes that an effect takes beside its message.
pub(super) const EFFECT_BYTES: u64 = 128;

/// To whom a message goes, or what it carries: like [`Shared`], but outside of the table.
pub(super) type Target = Shared;

/// What an event has asked for.
#[derive(Debug)]
pub(super) enum Effect {
    Send { target: Target, bytes: Vec<u8>, addresses: Vec<Target> },
    Create { behaviour: u32, bytes: Vec<u8>, addresses: Vec<Target> },
}

/// How bad a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Something failed.
    Error,
    /// Something may fail.
    Warning,
    /// Something happened.
    Information,
    /// For the guest's own developer.
    Debug,
}

/// Why a host call ended the event.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(
        "{function}: bytes {pointer:#x} to {pointer:#x} + {length} are outside of the memory of {memory} bytes"
    )]
    OutsideMemory { function: &'static str, pointer: u32, length: u32, memory: usize },
    #[error(
        "{function}: handle {handle} leads nowhere: it was never given to this actor, or it was released"
    )]
    NoHandle { function: &'static str, handle: u32 },
    #[error(
        "{function}: bytes {offset} to {offset} + {length} are outside of the message of {message} bytes"
    )]
    OutsideMessage { function: &'static str, offset: u32, length: u32, message: usize },
    #[error("{function}: the message carries {addresses} addresses, and there is no number {number}")]
    NoAddress { function: &'static str, number: u32, addresses: usize },
    #[error("{function}: {found} {what}, and {limit} are allowed")]
    TooMany { function: &'static str, what: &'static str, found: u64, limit: u64 },
    #[error("log: there is no level {0}; 0 is an error, 1 a warning, 2 information, 3 for debugging")]
    NoLevel(u32),
    #[error("{0}")]
    Failed(String),
    #[error("the sponsor's quota of {0} is used up")]
    Exhausted(Resource),
}

/// What the host functions see of the event under way. Between events it is empty but for the table.
#[derive(Debug, Default)]
pub(super) struct EventState {
    /// The instance's memory, once there is one.
    pub(super) memory: Option<Memory>,
    pub(super) metered: bool,
    /// Fuel left when the guest last called or returned; below zero if it has used more than there was.
    pub(super) fuel: i64,
    pub(super) this: Option<Address>,
    pub(super) handles: Handles,
    /// The message's bytes.
    pub(super) message: Vec<u8>,
    /// The message's addresses. One gets a handle when the guest asks for it.
    pub(super) addresses: Vec<Address>,
    /// Nanoseconds since 1970 when the event began.
    pub(super) time_ns: u64,
    pub(super) effects: Vec<Effect>,
    pub(super) created: u32,
    pub(super) next_behaviour: Option<u32>,
    pub(super) log: Vec<(Level, String)>,
    /// Lines beyond those that an event may write.
    pub(super) log_dropped: u64,
    /// Bytes that the event may still allocate.
    pub(super) memory_left: u64,
    /// Bytes that its memory has grown.
    pub(super) grown: u64,
    /// Bytes that the memory may ever have.
    pub(super) memory_limit: usize,
    /// Whether an event runs: making an instance is not charged.
    pub(super) running: bool,
}

impl EventState {
    fn charge_memory(&mut self, bytes: u64) -> Result<(), CallError> {
        let left = self.memory_left.checked_sub(bytes);
        self.memory_left = left.ok_or(CallError::Exhausted(Resource::Memory))?;
        Ok(())
    }

    fn resolve(&self, function: &'static str, handle: u32) -> Result<Target, CallError> {
        match (self.handles.get(handle), &self.this) {
            (Some(Shared::This), Some(this)) => Ok(Shared::Address(this.clone())),
            (Some(entry), _) => Ok(entry.clone()),
            (None, _) => Err(CallError::NoHandle { function, handle }),
        }
    }

    fn add_handle(&mut self, function: &'static str, entry: Shared) -> Result<u32, CallError> {
        let limit = u64::from(abi::HANDLES);
        let full = |Full| CallError::TooMany { function, what: "handles", found: limit + 1, limit };
        self.charge_memory(size_of::<Address>() as u64)?;
        self.handles.add(entry).map_err(full)
    }

    /// The bytes of what the event has asked for, which comes to nothing.
    pub(super) fn take_bytes(&mut self) -> Vec<Vec<u8>> {
        let bytes = self.effects.iter_mut().map(|effect| match effect {
            Effect::Send { bytes, .. } | Effect::Create { bytes, .. } => std::mem::take(bytes),
        });
        bytes.filter(|bytes| bytes.len() >= LONG).collect()
    }

    /// Makes a message the one that the guest reads; gives how many bytes and addresses it has.
    pub(super) fn begin_message(
        &mut self,
        bytes: Vec<u8>,
        addresses: Vec<Address>,
    ) -> Result<(u32, u32), CallError> {
        within("message_address", "addresses", addresses.len() as u64, u64::from(abi::MESSAGE_ADDRESSES))?;
        within("message_read", "bytes", bytes.len() as u64, u64::from(abi::MESSAGE_BYTES))?;
        let sizes = (bytes.len() as u32, addresses.len() as u32);
        self.message = bytes;
        self.addresses = addresses;
        Ok(sizes)
    }
}

impl ResourceLimiter for EventState {
    fn memory_growing(&mut self, now: usize, wanted: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        if wanted > self.memory_limit {
            // The guest's `memory.grow` gives -1, as WebAssembly has it.
            return Ok(false);
        }
        if self.running {
            let bytes = (wanted - now) as u64;
            self.charge_memory(bytes).map_err(Error::new)?;
            self.grown += bytes;
        }
        Ok(true)
    }

    fn table_growing(&mut self, now: usize, _wanted: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        // Tables have the size that the validator saw, from the beginning.
        Ok(now == 0)
    }
}

fn within(function: &'static str, what: &'static str, found: u64, limit: u64) -> Result<(), CallError> {
    if found > limit { Err(CallError::TooMany { function, what, found, limit }) } else { Ok(()) }
}

type RunningConfiguration<'a> = Caller<'a, EventState>;

/// Takes fuel for a call before it is carried out.
fn charge(guest: &mut RunningConfiguration<'_>, fuel: u64) -> Result<(), CallError> {
    let event = guest.data_mut();
    if !event.metered {
        return Ok(());
    }
    // What is charged is in proportion to a memory's size at most.
    event.fuel = event.fuel.saturating_sub_unsigned(fuel);
    if event.fuel < 0 { Err(CallError::Exhausted(Resource::Cycles)) } else { Ok(()) }
}

/// The memory and the event, both at once.
fn parts<'a>(
    guest: &'a mut RunningConfiguration<'_>,
) -> wasmtime::Result<(&'a mut [u8], &'a mut EventState)> {
    let memory = guest.data().memory.ok_or_else(|| Error::msg("a host call before the memory is there"))?;
    Ok(memory.data_and_store_mut(guest))
}

/// The bytes that a guest points at.
fn bytes<'a>(
    function: &'static str,
    memory: &'a mut [u8],
    pointer: u32,
    length: u32,
) -> Result<&'a mut [u8], CallError> {
    let size = memory.len();
    let start = pointer as usize;
    let range = memory.get_mut(start..start + length as usize);
    range.ok_or(CallError::OutsideMemory { function, pointer, length, memory: size })
}

/// A message that a guest points at: its bytes, and handles as an array of little-endian words.
struct Pointers {
    bytes: u32,
    length: u32,
    handles: u32,
    count: u32,
}

impl Pointers {
    fn take(
        &self,
        function: &'static str,
        guest: &mut RunningConfiguration<'_>,
    ) -> wasmtime::Result<(Vec<u8>, Vec<Target>)> {
        within(function, "bytes", u64::from(self.length), u64::from(abi::MESSAGE_BYTES))?;
        within(function, "addresses", u64::from(self.count), u64::from(abi::MESSAGE_ADDRESSES))?;
        let copied = u64::from(self.length) + u64::from(self.count) * 16;
        charge(guest, CALL_FUEL + EFFECT_FUEL + copied)?;
        let (memory, event) = parts(guest)?;
        within(function, "sends and creates", event.effects.len() as u64 + 1, abi::EFFECTS as u64)?;
        let addresses = u64::from(self.count) * size_of::<Target>() as u64;
        event.charge_memory(EFFECT_BYTES + u64::from(self.length) + addresses)?;
        let mut targets = Vec::with_capacity(self.count as usize);
        for word in bytes(function, memory, self.handles, self.count * 4)?.chunks_exact(4) {
            let handle = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            targets.push(event.resolve(function, handle)?);
        }
        Ok((bytes(function, memory, self.bytes, self.length)?.to_vec(), targets))
    }
}

/// A result, with the fuel that is left behind it.
trait WithFuel {
    type Both;
    fn with_fuel(self, fuel: i64) -> Self::Both;
}

impl WithFuel for () {
    type Both = i64;
    fn with_fuel(self, fuel: i64) -> i64 {
        fuel
    }
}

impl WithFuel for u32 {
    type Both = (u32, i64);
    fn with_fuel(self, fuel: i64) -> (u32, i64) {
        (self, fuel)
    }
}

impl WithFuel for u64 {
    type Both = (u64, i64);
    fn with_fuel(self, fuel: i64) -> (u64, i64) {
        (self, fuel)
    }
}

/// Adds every function of [`abi::HOST_FUNCTIONS`], with fuel for modules that count it.
pub(super) fn add_to(linker: &mut Linker<EventState>, counts: bool) -> wasmtime::Result<()> {
    macro_rules! add {
        ($($name:literal $function:ident($($argument:ident),*);)*) => {$(
            if counts {
                let function = |mut guest: RunningConfiguration<'_>, $($argument: u32,)* fuel: i64| {
                    guest.data_mut().fuel = fuel;
                    let result = $function(&mut guest, $($argument),*)?;
                    Ok::<_, Error>(result.with_fuel(guest.data().fuel))
                };
                linker.func_wrap(abi::IMPORTS, $name, function)?;
            } else {
                let function = |mut guest: RunningConfiguration<'_>, $($argument: u32),*| $function(&mut guest, $($argument),*);
                linker.func_wrap(abi::IMPORTS, $name, function)?;
            }
        )*};
    }
    add! {
        "message_read" message_read(pointer, offset, length);
        "message_address" message_address(number);
        "send" send(to, pointer, length, handles, count);
        "create" create(behaviour, pointer, length, handles, count);
        "become" become_behaviour(behaviour);
        "release" release(handle);
        "same" same(one, other);
        "fail" fail(pointer, length);
        "log" log(level, pointer, length);
        "time" time();
    }
    Ok(())
}

fn message_read(
    guest: &mut RunningConfiguration<'_>,
    pointer: u32,
    offset: u32,
    length: u32,
) -> wasmtime::Result<()> {
    let function = "message_read";
    // Checked before it is charged: a length that makes no sense is the guest's mistake, not its sponsor's
    // lack.
    let message = guest.data().message.len();
    let range = offset as usize..offset as usize + length as usize;
    if range.end > message {
        return Err(CallError::OutsideMessage { function, offset, length, message }.into());
    }
    charge(guest, CALL_FUEL + u64::from(length))?;
    let (memory, event) = parts(guest)?;
    bytes(function, memory, pointer, length)?.copy_from_slice(&event.message[range]);
    Ok(())
}

fn message_address(guest: &mut RunningConfiguration<'_>, number: u32) -> wasmtime::Result<u32> {
    let function = "message_address";
    charge(guest, CALL_FUEL)?;
    let event = guest.data_mut();
    let addresses = event.addresses.len();
    let address = event.addresses.get(number as usize).cloned();
    let address = address.ok_or(CallError::NoAddress { function, number, addresses })?;
    Ok(event.add_handle(function, Shared::Address(address))?)
}

fn send(
    guest: &mut RunningConfiguration<'_>,
    to: u32,
    pointer: u32,
    length: u32,
    handles: u32,
    count: u32,
) -> wasmtime::Result<()> {
    let pointers = Pointers { bytes: pointer, length, handles, count };
    let (bytes, addresses) = pointers.take("send", guest)?;
    let event = guest.data_mut();
    let target = event.resolve("send", to)?;
    event.effects.push(Effect::Send { target, bytes, addresses });
    Ok(())
}

fn create(
    guest: &mut RunningConfiguration<'_>,
    behaviour: u32,
    pointer: u32,
    length: u32,
    handles: u32,
    count: u32,
) -> wasmtime::Result<u32> {
    let pointers = Pointers { bytes: pointer, length, handles, count };
    let (bytes, addresses) = pointers.take("create", guest)?;
    let event = guest.data_mut();
    let number = event.created;
    let handle = event.add_handle("create", Shared::Created(number))?;
    event.created += 1;
    event.effects.push(Effect::Create { behaviour, bytes, addresses });
    Ok(handle)
}

fn become_behaviour(guest: &mut RunningConfiguration<'_>, behaviour: u32) -> wasmtime::Result<()> {
    charge(guest, CALL_FUEL)?;
    guest.data_mut().next_behaviour = Some(behaviour);
    Ok(())
}

fn release(guest: &mut RunningConfiguration<'_>, handle: u32) -> wasmtime::Result<()> {
    charge(guest, CALL_FUEL)?;
    if guest.data_mut().handles.release(handle) {
        return Ok(());
    }
    Err(CallError::NoHandle { function: "release", handle }.into())
}

fn same(guest: &mut RunningConfiguration<'_>, one: u32, other: u32) -> wasmtime::Result<u32> {
    charge(guest, CALL_FUEL)?;
    let event = guest.data();
    Ok(u32::from(event.resolve("same", one)? == event.resolve("same", other)?))
}

/// The bytes of a text of a guest's, paid for.
fn paid_text<'a>(
    function: &'static str,
    guest: &'a mut RunningConfiguration<'_>,
    pointer: u32,
    length: u32,
) -> wasmtime::Result<(&'a [u8], &'a mut EventState)> {
    let length = length.min(abi::TEXT_BYTES);
    charge(guest, CALL_FUEL + EFFECT_FUEL + u64::from(length))?;
    let (memory, event) = parts(guest)?;
    event.charge_memory(EFFECT_BYTES + u64::from(length))?;
    Ok((bytes(function, memory, pointer, length)?, event))
}

fn fail(guest: &mut RunningConfiguration<'_>, pointer: u32, length: u32) -> wasmtime::Result<()> {
    let (words, _) = paid_text("fail", guest, pointer, length)?;
    // What is no UTF-8 in it is replaced, as in a line of the log.
    Err(CallError::Failed(String::from_utf8_lossy(words).into_owned()).into())
}

fn log(guest: &mut RunningConfiguration<'_>, level: u32, pointer: u32, length: u32) -> wasmtime::Result<()> {
    let level = match level {
        0 => Level::Error,
        1 => Level::Warning,
        2 => Level::Information,
        3 => Level::Debug,
        other => return Err(CallError::NoLevel(other).into()),
    };
    let (line, event) = paid_text("log", guest, pointer, length)?;
    if event.log.len() < abi::LOG_LINES {
        event.log.push((level, String::from_utf8_lossy(line).into_owned()));
    } else {
        event.log_dropped += 1;
    }
    Ok(())
}

fn time(guest: &mut RunningConfiguration<'_>) -> wasmtime::Result<u64> {
    charge(guest, CALL_FUEL)?;
    Ok(guest.data().time_ns)
}
