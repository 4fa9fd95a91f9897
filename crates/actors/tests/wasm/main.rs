//! Untrusted actors, one event at a time: what they may do, and what stops them.
#![cfg(feature = "wasm")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod abi;
mod compiling;
mod durable;
mod guests;
mod hostile;
mod metering;
mod modules;
mod mutated;
mod sponsored;
mod state;
mod worst;

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use banyan_actors::behaviour::Behaviour;
use banyan_actors::probe::Probe;
use banyan_actors::wasm::{Engine, EngineOptions, Limits, Module};
use banyan_actors::{Address, Context, Failure, Message, Packet, Quota, Saved};

/// Imports of everything, two exports, a memory of two pages, and helpers; `body` gives the rest.
fn text(body: &str) -> String {
    format!(
        r#"(module
        (import "banyan" "message_read" (func $message_read (param i32 i32 i32)))
        (import "banyan" "message_address" (func $message_address (param i32) (result i32)))
        (import "banyan" "send" (func $send (param i32 i32 i32 i32 i32)))
        (import "banyan" "create" (func $create (param i32 i32 i32 i32 i32) (result i32)))
        (import "banyan" "become" (func $become (param i32)))
        (import "banyan" "release" (func $release (param i32)))
        (import "banyan" "same" (func $same (param i32 i32) (result i32)))
        (import "banyan" "fail" (func $fail (param i32 i32)))
        (import "banyan" "log" (func $log (param i32 i32 i32)))
        (import "banyan" "time" (func $time (result i64)))
        (memory 2)
        (func (export "banyan_abi_1"))
        {body})"#
    )
}

/// The entry for messages, with two variables.
fn receive(code: &str) -> String {
    format!(r#"(func (export "banyan_receive") (param i32 i32 i32) (local $i i32) (local $k i32) {code})"#)
}

fn binary(body: &str) -> Vec<u8> {
    wat::parse_str(text(body)).expect("the test's module is well-formed")
}

/// The same with a memory of so many pages.
fn wide(body: &str, pages: usize) -> Vec<u8> {
    let text = text(body).replace("(memory 2)", &format!("(memory {pages})"));
    wat::parse_str(text).expect("the test's module is well-formed")
}

/// Runs this on a thread of its own, so that what nothing ends fails the test.
fn within<T: Send + 'static>(seconds: u64, what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // The test that waits for it may have given up.
        let _ = sender.send(run());
    });
    match receiver.recv_timeout(Duration::from_secs(seconds)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{what}: nothing ends it"),
        Err(RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        // Far beyond what a test needs, and far below what would hold up the others.
        let event_time = Duration::from_secs(2);
        Engine::new(EngineOptions { limits, event_time, ..EngineOptions::default() }).unwrap()
    })
}

fn module(body: &str) -> Module {
    engine().compile(&binary(body)).unwrap_or_else(|error| panic!("{error}"))
}

fn actor(body: &str) -> Box<dyn Behaviour> {
    module(body).actor(0, Packet::default())
}

fn bytes(bytes: &[u8]) -> Message {
    Message::from_packet(Packet { bytes: bytes.to_vec(), addresses: Vec::new() })
}

fn packet(bytes: &[u8], addresses: &[&Address]) -> Message {
    let addresses = addresses.iter().map(|address| (*address).clone()).collect();
    Message::from_packet(Packet { bytes: bytes.to_vec(), addresses })
}

/// What a [`Collector`] got.
type Collected = Arc<Mutex<Vec<Packet>>>;

struct Collector(Collected);

impl Behaviour for Collector {
    fn receive(&mut self, message: &Message, _context: &mut Context<'_>) -> Result<(), Failure> {
        self.0.lock().unwrap().push(message.to_packet()?);
        Ok(())
    }
}

/// A behaviour that the test can still reach when it is in a configuration.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Behaviour>>>);

impl Shared {
    fn new(behaviour: Box<dyn Behaviour>) -> Self {
        Self(Arc::new(Mutex::new(behaviour)))
    }

    fn save(&self) -> Saved {
        self.0.lock().unwrap().save().expect("an actor of a module can be kept")
    }
}

impl Behaviour for Shared {
    fn receive(&mut self, message: &Message, context: &mut Context<'_>) -> Result<(), Failure> {
        self.0.lock().unwrap().receive(message, context)
    }

    fn meters_itself(&self) -> bool {
        self.0.lock().unwrap().meters_itself()
    }
}

/// A configuration with a wasm actor and someone it can write to.
struct Stage {
    probe: Probe,
    actor: Address,
    collector: Address,
    collected: Collected,
}

impl Stage {
    fn new(behaviour: Box<dyn Behaviour>) -> Self {
        Self::with(behaviour, Quota { memory: 64 << 20, cycles: 1_000_000_000, events: 1_000_000 })
    }

    fn with(behaviour: Box<dyn Behaviour>, quota: Quota) -> Self {
        let mut probe = Probe::new(quota);
        let actor = probe.create(behaviour);
        let collected = Collected::default();
        let collector = probe.create(Box::new(Collector(Arc::clone(&collected))));
        Self { probe, actor, collector, collected }
    }

    /// Sends a message that carries the collector's address, and runs everything that follows.
    fn tell(&mut self, message: &[u8]) -> Result<(), Failure> {
        let message = packet(message, &[&self.collector]);
        self.probe.send(&self.actor, message);
        self.run()
    }

    fn run(&mut self) -> Result<(), Failure> {
        for _ in 0..10_000 {
            match self.probe.step() {
                None => return Ok(()),
                Some(step) => step.failure.map_or(Ok(()), Err)?,
            }
        }
        panic!("the queue does not become empty");
    }

    fn collected(&self) -> Vec<Vec<u8>> {
        self.collected.lock().unwrap().drain(..).map(|packet| packet.bytes).collect()
    }
}

/// A counter: adds the message's bytes as a number of 32 bits to a word of memory, and sends the sum to the
/// first address of the message. Its stack pointer is a mutable global that counts events.
const COUNTER: &str = r#"
    (global $events (mut i32) (i32.const 0))
    (data (i32.const 100) "\05\00\00\00")
    (func (export "banyan_receive") (param i32 i32 i32)
        (global.set $events (i32.add (global.get $events) (i32.const 1)))
        (call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
        (i32.store (i32.const 100) (i32.add (i32.load (i32.const 100)) (i32.load (i32.const 0))))
        (i32.store (i32.const 104) (global.get $events))
        (call $send (call $message_address (i32.const 0)) (i32.const 100) (i32.const 8) (i32.const 0) (i32.const 0))
        (if (i32.eq (i32.load (i32.const 0)) (i32.const 13)) (then unreachable)))"#;

fn word(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

/// The sum and the number of events that [`COUNTER`] sends.
fn sums(stage: &Stage) -> Vec<(u32, u32)> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    stage.collected().iter().map(|bytes| (word(&bytes[..4]), word(&bytes[4..]))).collect()
}
