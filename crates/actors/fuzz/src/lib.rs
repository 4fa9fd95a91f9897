//! What the fuzz targets do with a mass of bytes; the ordinary tests do it briefly too (`tests/fuzz.rs`).
//!
//! One function for each input that is not believed. None may panic or run without bound, and nothing is created for what
//! nobody gave out.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use banyan_actors::behaviour::Behaviour;
use banyan_actors::probe::Probe;
use banyan_actors::router::{Exchange, Link, Router};
use banyan_actors::wasm::{Engine, EngineOptions, Limits, Module};
use banyan_actors::{Configuration, Context, Message, Packet, Quota, Simulation, closure};

/// An example guest, which the SDK's decoder is part of.
pub const AUCTION_BYTES: &[u8] = include_bytes!("../../../../examples/guests/prebuilt/auction.wasm");

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

/// Any bytes and addresses are a message to a guest, or an error of that event: here to an SDK's decoder in its sandbox,
/// and back from there to the host. The first byte says how many addresses; the rest are two messages.
pub fn message(data: &[u8]) {
    let Some((addresses, data)) = data.split_first() else { return };
    let (one, other) = data.split_at(data.len() / 2);
    let start = Packet { bytes: one.to_vec(), addresses: Vec::new() };
    let addresses = usize::from(*addresses % 4);
    run(auction().actor(u32::from(data.len() as u8 % 4), start), &[one, other], addresses);
    let start = Packet::encode(&"house").expect("words are a message");
    run(auction().actor(0, start), &[data, other], addresses);
}

/// Any bytes are the state of an actor, or an error: a table of handles with holes, pages outside of the memory, globals
/// of other types. An actor that comes of it stays within its bounds.
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

/// Any bytes from a peer: each frame is taken or refused, and nothing is created for a token that nobody gave out. Frames
/// of up to 255 bytes, each behind its length.
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

/// By name, with inputs to begin with: from nothing, mutation hardly ever finds what is right.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static [u8]]);

/// All targets.
pub const TARGETS: &[Target] = &[
    (
        "module",
        module,
        &[
            AUCTION_BYTES,
            include_bytes!("../../../../examples/guests/prebuilt/tally.wasm"),
            include_bytes!("../../../../examples/guests/prebuilt/zoo.wasm"),
        ],
    ),
    ("message", message, &[b"\x01\x01a\x05\x00", b"\x03house\x00\x01\x02"]),
    (
        "state",
        state,
        &[b"\x00\x00\x00", b"\x01\x00\x01\x00\x80\x80\x40\x00\x00\x80\x80\x08\x00"],
    ),
    (
        "frames",
        frames,
        &[
            b"\x15\x02aaaaaaaaaaaaaaaa\x00\x00\x01\x02",
            b"\x27\x02aaaaaaaaaaaaaaaa\x02\x00\x00bbbbbbbbbbbbbbbb\x01cccccccccccccccc",
            b"\x19\x03aaaaaaaaaaaaaaaa\x01\x00\x00\x00\x00\x00\x00\x00",
            b"\x6d\x04cccccccccccccccc\x00\x00\x00\x00\x00\x00\x00\x00ssssssssssssssssttttttttttttttttnnnnnnnn\x01\x00\x02\
              cccccccccccccccc\x00\x00\x00\x00\x00\x00\x00\x00ssssssssssssssss",
            b"\x19\x05ssssssssssssssss\x01\x00\x00\x00\x00\x00\x00\x00",
            b"\x11\x07cccccccccccccccc",
        ],
    ),
];

/// Runs a target on mutations of its inputs until there is no more time or there were so many; returns how many. Those
/// inputs that were made are mutated again; the numbers depend on the seed only.
pub fn mutate(target: &Target, seed: u64, time: Duration, runs_max: u64) -> u64 {
    let (_, run, seeds) = target;
    let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let mut random = seed;
    let mut below = move |end: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % end.max(1)
    };
    let begun = std::time::Instant::now();
    let mut runs = 0;
    while runs < runs_max && begun.elapsed() < time {
        let mut input = corpus[below(corpus.len())].clone();
        for _ in 0..=below(4) {
            let at = below(input.len() + 1);
            match below(7) {
                0 if at < input.len() => input[at] ^= 1 << below(8),
                1 if at < input.len() => input[at] = below(256) as u8,
                2 => input.insert(at, below(256) as u8),
                3 => input.truncate(at),
                4 if at < input.len() => drop(input.remove(at)),
                5 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
                _ => {
                    let other = &corpus[below(corpus.len())];
                    let from = below(other.len());
                    let piece = other[from..(from + below(64)).min(other.len())].to_vec();
                    input.splice(at..at, piece);
                }
            }
        }
        run(&input);
        runs += 1;
        if below(64) == 0 && corpus.len() < 256 {
            corpus.push(input);
        }
    }
    runs
}
