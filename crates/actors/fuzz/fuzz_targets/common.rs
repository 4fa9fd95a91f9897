//! What the targets share: an engine with small limits, and a guest that does whatever its message says.

use std::sync::OnceLock;
use std::time::Duration;

use banyan_actors::behaviour::Behaviour;
use banyan_actors::probe::Probe;
use banyan_actors::wasm::{Engine, EngineOptions, Limits, Module};
use banyan_actors::{Message, Packet, Quota};

pub fn engine() -> &'static Engine {
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
        Engine::new(EngineOptions { limits, event_time, actors: 256, ..EngineOptions::default() }).unwrap()
    })
}

#[allow(dead_code, reason = "not every target needs it")]
pub fn auction() -> &'static Module {
    static AUCTION: OnceLock<Module> = OnceLock::new();
    let module = include_bytes!("../../../../examples/guests/prebuilt/auction.wasm");
    AUCTION.get_or_init(|| engine().compile(module).unwrap())
}

/// Runs an actor on one message that carries its own address, and what follows from that, within bounds.
pub fn run(actor: Box<dyn Behaviour>, messages: &[&[u8]], addresses: usize) {
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
