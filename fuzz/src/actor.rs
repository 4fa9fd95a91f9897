//! Actors: modules of guests, their messages and states, and the frames of a peer's router.
//!
//! Nothing is created for a token that was not given out.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Target;
use banyan_actors::behaviour::Behaviour;
use banyan_actors::probe::Probe;
use banyan_actors::router::{Exchange, Link, Router};
use banyan_actors::wasm::{Engine, EngineOptions, Limits, Module};
use banyan_actors::{Configuration, Context, Message, Packet, Quota, Simulation, closure};

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        inputs: module_inputs,
        inputs_in_test: 300,
        kept_bytes_max: 64 << 10,
        ..Target::new("actor_module", module)
    },
    Target {
        inputs: || inputs(&[b"\x01\x01a\x05\x00", b"\x03house\x00\x01\x02"]),
        inputs_in_test: 300,
        ..Target::new("actor_message", message)
    },
    Target {
        inputs: || inputs(&[b"\x01\x01\x01\x00", b"\x02\x02\x00\x03\x02\x05\x00\x07\x01\x00", &[1; 4096]]),
        inputs_in_test: 300,
        ..Target::new("actor_native", native)
    },
    Target {
        inputs: || inputs(&[b"\x00\x00\x00", b"\x01\x00\x01\x00\x80\x80\x40\x00\x00\x80\x80\x08\x00"]),
        inputs_in_test: 300,
        ..Target::new("actor_state", state)
    },
    Target { inputs: frame_inputs, inputs_in_test: 300, ..Target::new("actor_frame", frames) },
];

/// An example guest, which the SDK's decoder is part of.
const AUCTION_BYTES: &[u8] = include_bytes!("../../examples/guests/prebuilt/auction.wasm");

/// An engine with small limits.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let limits = Limits {
            module_bytes: 64 << 10,
            functions: 200,
            function_bytes: 16 << 10,
            memory_bytes: 1 << 20,
            ..Limits::default()
        };
        let event_time = Duration::from_millis(50);
        let options = EngineOptions { limits, event_time, actors: 256, ..EngineOptions::default() };
        Engine::new(options).expect("an engine for a few small guests")
    })
}

fn auction() -> &'static Module {
    static AUCTION: OnceLock<Module> = OnceLock::new();
    AUCTION.get_or_init(|| engine().compile(AUCTION_BYTES).expect("an example guest is a module"))
}

/// Runs an actor on one message that carries its own address, and what follows from that, within bounds.
fn run(actor: Box<dyn Behaviour>, messages: &[&[u8]], addresses: usize) {
    let mut probe = Probe::new(Quota { memory: 8 << 20, cycles: 3_000_000, events: 64 });
    let actor = probe.create(actor);
    for bytes in messages {
        let packet = Packet { bytes: bytes.to_vec(), addresses: vec![actor.clone(); addresses] };
        probe.send(&actor, Message::from_packet(packet));
    }
    for _ in 0..64 {
        match probe.step() {
            None => break,
            Some(step) if matches!(step.failure, Some(banyan_actors::Failure::Exhausted(_))) => break,
            Some(_) => {}
        }
    }
}

/// Any bytes are refused as a module, or become actors that stay within their bounds.
pub fn module(data: &[u8]) {
    if let Ok(module) = engine().compile(data) {
        run(module.actor(0, Packet::default()), &[b"", b"message"], 1);
    }
}

/// Any bytes and addresses are a message to a guest, or an error of that event: here to an SDK's decoder in
/// its sandbox, and back from there to the host. The first byte says how many addresses; the rest are two
/// messages.
pub fn message(data: &[u8]) {
    let Some((addresses, data)) = data.split_first() else { return };
    let (one, other) = data.split_at(data.len() / 2);
    let start = Packet { bytes: one.to_vec(), addresses: Vec::new() };
    let addresses = usize::from(*addresses % 4);
    run(auction().actor(u32::from(data.len() as u8 % 4), start), &[one, other], addresses);
    let start = Packet::encode(&"house").expect("words are a message");
    run(auction().actor(0, start), &[data, other], addresses);
}

/// What a native actor may take: a type that contains itself in every way there is, and what takes no bytes.
#[derive(Serialize, Deserialize)]
enum Anything {
    Nothing,
    Boxed(Box<Anything>),
    Several(Vec<Anything>, BTreeMap<u8, Anything>),
    Named { empty: Vec<()>, next: Option<Box<Anything>>, address: Option<banyan_actors::Address> },
    Words(String, Vec<u8>, Vec<(u64, f32, char)>),
}

/// Any bytes are a message to a native actor, or an error of that event.
pub fn native(data: &[u8]) {
    run(closure((), |(), _: &Anything, _: &mut Context<'_>| Ok(())), &[data], 1);
}

/// Any bytes are the state of an actor, or an error: a table of handles with holes, pages outside of the
/// memory, globals of other types. An actor that comes of it stays within its bounds.
pub fn state(data: &[u8]) {
    let state = Packet { bytes: data.to_vec(), addresses: Vec::new() };
    if let Ok(actor) = auction().rebuild(&state) {
        run(actor, &[b"\x01a\x05\x00"], 1);
    }
}

struct Nowhere;

impl Link for Nowhere {
    fn carry(&self, _: Vec<u8>) {}
}

/// Any bytes from a peer: each frame is taken or refused, and nothing is created for a token that nobody gave
/// out. Frames of up to 255 bytes, each behind its length.
pub fn frames(bytes: &[u8]) {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let actor = closure((), |(), _: &(u64, String), _: &mut Context<'_>| Ok(()));
    let actor = simulation.create(Configuration::new("target").with_behaviour(actor));
    let exchange: Arc<Exchange> = Exchange::new((*simulation).clone(), Box::new(Nowhere), None);
    exchange.publish(&actor);
    exchange.take(&[1, 2, 0, 0, 0]).expect("a greeting of this version");
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let (frame, after) = after.split_at(usize::from(*length).min(after.len()));
        // A peer that sends what is no frame is not listened to any more; here the next one is.
        let _ = exchange.take(frame);
        rest = after;
    }
    assert_eq!(exchange.counts(), (0, 0));
    simulation.run(1000);
}

fn inputs(all: &[&[u8]]) -> Vec<Vec<u8>> {
    all.iter().map(|input| input.to_vec()).collect()
}

fn module_inputs() -> Vec<Vec<u8>> {
    inputs(&[
        AUCTION_BYTES,
        include_bytes!("../../examples/guests/prebuilt/tally.wasm"),
        include_bytes!("../../examples/guests/prebuilt/zoo.wasm"),
    ])
}

fn frame_inputs() -> Vec<Vec<u8>> {
    inputs(&[
        b"\x15\x02aaaaaaaaaaaaaaaa\x00\x00\x01\x02",
        b"\x27\x02aaaaaaaaaaaaaaaa\x02\x00\x00bbbbbbbbbbbbbbbb\x01cccccccccccccccc",
        b"\x19\x03aaaaaaaaaaaaaaaa\x01\x00\x00\x00\x00\x00\x00\x00",
        b"\x6d\x04cccccccccccccccc\x00\x00\x00\x00\x00\x00\x00\x00ssssssssssssssssttttttttttttttttnnnnnnnn\x01\x00\x02\
          cccccccccccccccc\x00\x00\x00\x00\x00\x00\x00\x00ssssssssssssssss",
        b"\x19\x05ssssssssssssssss\x01\x00\x00\x00\x00\x00\x00\x00",
        b"\x11\x07cccccccccccccccc",
    ])
}
