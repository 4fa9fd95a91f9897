//! Untrusted actors in configurations with sponsors of their own: every bomb spends what it was given and no
//! more, waits when that is used up, goes on when there is more, and its neighbours are served.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use banyan_actors::simulation::{Ending, Simulation};
use banyan_actors::wasm::{Engine, EngineOptions, Limits, Module};
use banyan_actors::{
    Addr, Address, Configuration, Failure, Handle, Message, Packet, Quota, Runtime, RuntimeOptions, closure,
};

use super::{COUNTER, binary, bytes, packet, word};

const SMALL: Quota = Quota { memory: 1 << 20, cycles: 2_000_000, events: 200 };

/// Bombs that hold out for one event or more: name, and what the first actor does with each message.
const BOMBS: [(&str, &str); 6] = [
    ("endless loop", "(loop $again (br $again))"),
    ("allocation", "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))"),
    (
        "messages",
        "(call $send (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 0) (i32.const 0))
         (call $send (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 0) (i32.const 0))",
    ),
    (
        "forks",
        "(call $send (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
         (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
    ),
    ("bulk copy", "(loop $again (memory.copy (i32.const 0) (i32.const 8) (i32.const 65000)) (br $again))"),
    (
        "unmarshal",
        "(call $send (i32.const 0) (i32.const 0) (local.get 1) (i32.const 0) (i32.const 0))
         (loop $again
            (call $message_read (i32.const 0) (i32.const 0) (local.get 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50))))",
    ),
];

fn compile(engine: &Engine, code: &str) -> Module {
    let body = format!(r#"(func (export "banyan_receive") (param i32 i32 i32) (local $i i32) {code})"#);
    engine.compile(&binary(&body)).unwrap()
}

fn engine() -> Engine {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let event_time = Duration::from_secs(2);
    Engine::new(EngineOptions { limits, event_time, actors: 4_096, ..EngineOptions::default() }).unwrap()
}

fn left_and_waiting(handle: &Handle, sponsor: &str) -> ([u64; 3], [u64; 3], usize) {
    let all = handle.sponsors();
    let one = all.iter().find(|one| one.name == sponsor).unwrap();
    (one.left, one.consumed, one.waiting)
}

#[test]
fn every_bomb_spends_what_it_was_given_and_waits() {
    let engine = engine();
    for (name, code) in BOMBS {
        let module = compile(&engine, code);
        let counter = engine.compile(&binary(COUNTER)).unwrap();
        for seed in 0..3 {
            let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
            let sponsor = simulation.sponsor(name, SMALL).unwrap();
            let bomb = simulation.create(
                Configuration::new(name).sponsor(&sponsor).with_behaviour(module.actor(0, Packet::default())),
            );
            let (sender, answers) = channel();
            let listener = closure(sender, |sender, packet: &[u8; 8], _| {
                sender.send(*packet).map_err(|error| Failure::because(error.to_string()))
            });
            let listener = simulation.create(Configuration::new("listener").with_behaviour(listener));
            let neighbour =
                Configuration::new("neighbour").with_behaviour(counter.actor(0, Packet::default()));
            let neighbour = simulation.create(neighbour);
            simulation.deliver(&bomb, bytes(&[0; 2_000]));
            for _ in 0..50 {
                simulation.deliver(&neighbour, packet(&word(1), &[&listener]));
            }
            assert_eq!(simulation.run(100_000), Ending::Drained, "{name}");
            let answers: Vec<[u8; 8]> = answers.try_iter().collect();
            assert_eq!(answers.len(), 50, "{name}: the neighbour is served");
            assert_eq!(answers[49][..4], word(55), "{name}: and computes what it would alone");
            assert!(simulation.is_conserved(), "{name}");
            let (_, consumed, waiting) = left_and_waiting(&simulation, name);
            assert!(waiting > 0, "{name}: what cannot be paid for waits");
            for (used, most) in consumed.iter().zip([SMALL.memory, SMALL.cycles, SMALL.events]) {
                assert!(*used <= most, "{name}: spends no more than it was given: {consumed:?}");
            }
            // With more to spend it goes on, and comes to its end again.
            simulation.grant(&sponsor, SMALL);
            assert_eq!(simulation.run(100_000), Ending::Drained, "{name}");
            let (_, more, waiting) = left_and_waiting(&simulation, name);
            assert!(waiting > 0 && more > consumed, "{name}: {consumed:?}, then {more:?}");
            assert!(simulation.is_conserved(), "{name}");
        }
    }
}

/// On hosts with threads: all bombs at once, refilled again and again, beside a neighbour on the same hosts
/// that is asked all the while.
#[test]
fn neighbours_of_bombs_are_served_on_threads() {
    let engine = engine();
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let handle: Handle = (*runtime).clone();
    let mut sponsors = Vec::new();
    for (name, code) in BOMBS {
        let sponsor = handle.sponsor(name, SMALL).unwrap();
        let actor = compile(&engine, code).actor(0, Packet::default());
        let bomb: Address = handle.create(Configuration::new(name).sponsor(&sponsor).with_behaviour(actor));
        handle.deliver(&bomb, bytes(&[0; 2_000]));
        sponsors.push(sponsor);
    }
    let counter = engine.compile(&binary(COUNTER)).unwrap();
    let neighbour: Addr<[u8; 4]> = handle
        .create(Configuration::new("neighbour").with_behaviour(counter.actor(0, Packet::default())))
        .typed();
    let mut sum = 5;
    for round in 0..200 {
        if round % 10 == 0 {
            for sponsor in &sponsors {
                handle.grant(sponsor, SMALL);
            }
        }
        let (sender, answer) = channel();
        let listener = closure(sender, |sender, packet: &[u8; 8], _| {
            sender.send(*packet).map_err(|error| Failure::because(error.to_string()))
        });
        let listener = handle.create(Configuration::new("listener").with_behaviour(listener));
        let message = Packet { bytes: word(1).to_vec(), addresses: vec![listener] };
        handle.deliver(neighbour.address(), Message::from_packet(message));
        sum += 1;
        let got = answer.recv_timeout(Duration::from_secs(20)).expect("the neighbour answers");
        assert_eq!(got[..4], word(sum));
    }
    drop(runtime);
}

/// On hosts with threads, fuel and the clock both run; a sponsor pays exactly the fuel, whatever the time
/// was.
#[test]
fn a_module_pays_its_fuel_and_not_its_time_as_well() {
    let engine = engine();
    // Long enough that its time alone would be many times the fuel of an event that does nothing.
    let module = compile(
        &engine,
        "(loop $again (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
            (i32.const 100000))))",
    );
    let cost = {
        let mut probe = banyan_actors::probe::Probe::new(Quota::AMPLE);
        let actor = probe.create(module.actor(0, Packet::default()));
        let before = probe.left.cycles;
        probe.send(&actor, bytes(&[]));
        assert_eq!(probe.step().unwrap().failure, None);
        before - probe.left.cycles
    };
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let sponsor =
        runtime.sponsor("metered", Quota { memory: 1 << 30, cycles: 1 << 40, events: 1_000 }).unwrap();
    let actor = Configuration::new("metered").sponsor(&sponsor);
    let actor = runtime.create(actor.with_behaviour(module.actor(0, Packet::default())));
    for _ in 0..100 {
        runtime.deliver(&actor, bytes(&[]));
    }
    let begun = Instant::now();
    loop {
        // Leases are settled when the hosts are idle.
        let (_, [_, cycles, events], _) = left_and_waiting(&runtime, "metered");
        if events == 100 {
            assert_eq!(cycles, 100 * cost, "of fuel, and no time");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{events} events were dispatched");
        std::thread::sleep(Duration::from_millis(1));
    }
}
