//! Guests that mean harm: each is stopped with words that say what and where, and its neighbour goes on as
//! before.

use std::time::{Duration, Instant};

use banyan_actors::wasm::{Engine, EngineOptions, Limits, Metering};
use banyan_actors::{Context, Failure, Message, Packet, Quota, Resource};

use super::{COUNTER, Stage, actor, binary, module, packet, receive, sums, within, word};

/// Runs a guest's first event with a neighbour in the same configuration, and gives how it failed. The
/// neighbour has an event before and one after.
fn beside_a_neighbour(body: &str, quota: Quota) -> Failure {
    let owned = body.to_owned();
    within(60, body, move || on_this_thread(&owned, quota))
}

fn on_this_thread(body: &str, quota: Quota) -> Failure {
    let mut stage = Stage::with(actor(COUNTER), quota);
    stage.tell(&word(1)).unwrap();
    let hostile = stage.probe.create(actor(body));
    stage.probe.send(&hostile, packet(b"", &[&stage.collector, &hostile]));
    let failure = stage.run().expect_err("the guest must be stopped");
    if let Failure::Exhausted(_) = failure {
        // The event waits for its sponsor; the neighbour has another one.
        let mut other = Stage::with(actor(COUNTER), quota);
        other.tell(&word(2)).unwrap();
        assert_eq!(sums(&other), [(7, 1)]);
        return failure;
    }
    stage.tell(&word(2)).unwrap();
    assert_eq!(sums(&stage), [(6, 1), (8, 2)]);
    failure
}

const QUOTA: Quota = Quota { memory: 8 << 20, cycles: 20_000_000, events: 1_000 };

fn exhausts(body: &str, resource: Resource) {
    let failure = beside_a_neighbour(body, QUOTA);
    assert!(matches!(failure, Failure::Exhausted(exhausted) if exhausted.0 == resource), "{failure:?}");
}

#[test]
fn endless_loop() {
    exhausts(&receive("(loop $again (br $again))"), Resource::Cycles);
}

#[test]
fn endless_loop_at_the_start() {
    let body = format!("(func $begin (loop $again (br $again))) (start $begin) {}", receive(""));
    exhausts(&body, Resource::Cycles);
}

#[test]
fn endless_recursion() {
    let body = format!("(func $down (call $down) (call $down)) {}", receive("(call $down)"));
    let failure = beside_a_neighbour(&body, QUOTA);
    assert!(
        matches!(&failure, Failure::Panicked(words) if words.contains("call stack exhausted")),
        "{failure:?}"
    );
}

#[test]
fn allocation_bomb() {
    let bomb = receive("(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))");
    let failure = beside_a_neighbour(&bomb, Quota { memory: 2 << 20, ..QUOTA });
    assert!(
        matches!(failure, Failure::Exhausted(exhausted) if exhausted.0 == Resource::Memory),
        "{failure:?}"
    );
}

/// The bytes of messages are paid for before they are sent, within one event too.
#[test]
fn message_bomb() {
    let bomb = "(loop $again
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 65536) (i32.const 0) (i32.const 0))
        (br $again))";
    exhausts(&receive(bomb), Resource::Memory);
}

/// Small messages run into the number of effects, or the cycles, before they use up the host's memory.
#[test]
fn small_message_bomb() {
    let bomb = "(loop $again
        (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (br $again))";
    let failure =
        beside_a_neighbour(&receive(bomb), Quota { memory: 1 << 40, cycles: 1 << 40, events: 1_000 });
    assert!(failure.to_string().contains("65537 sends and creates, and 65536 are allowed"), "{failure}");
}

/// Each actor creates two and starts them: its sponsor's memory ends it.
#[test]
fn fork_bomb() {
    let bomb = "
        (loop $again
            (call $send
                (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2))))";
    exhausts(&receive(bomb), Resource::Memory);
}

/// A native actor whose message type contains itself is sent as many levels as fit into a message.
#[test]
fn nesting_bomb() {
    #[derive(serde::Serialize, serde::Deserialize)]
    enum Tree {
        Leaf,
        Node(Box<Tree>),
    }
    let bomb = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 131072))
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 131072) (i32.const 0) (i32.const 0))";
    let mut stage = Stage::new(actor(&receive(bomb)));
    let native = banyan_actors::closure((), |(), _: &Tree, _: &mut Context<'_>| Ok(()));
    let forest = stage.probe.create(native);
    stage.probe.send(&stage.actor, packet(b"", &[&forest]));
    let failure = stage.run().unwrap_err();
    assert!(failure.to_string().contains("its values are nested deeper than 128"), "{failure}");
    stage.probe.send(&forest, Message::new(Tree::Node(Box::new(Tree::Leaf))));
    stage.run().unwrap();
}

/// However many lines one event writes, the log's other lines are not pushed out.
#[test]
fn log_flood() {
    let flood = "(loop $again
        (call $log (i32.const 3) (i32.const 0) (i32.const 1))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000))))";
    let mut simulation = banyan_actors::Simulation::new(1, 1, Quota::AMPLE);
    simulation.log("before");
    let flood = banyan_actors::Configuration::new("flood").with_behaviour(actor(&receive(flood)));
    let flood = simulation.create(flood);
    simulation.deliver(&flood, packet(b"", &[]));
    simulation.run(1_000);
    let lines = simulation.log_lines();
    assert!(lines[0].contains("before") && lines.len() == 66, "{} lines", lines.len());
    assert!(lines[65].contains("1936 more lines of this event are dropped"), "{}", lines[65]);
}

/// One instruction that copies much is charged by the byte, in each of its forms.
#[test]
fn bulk_copies_are_charged_by_the_byte() {
    for bomb in [
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 131000))",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 131000))",
    ] {
        exhausts(&receive(&format!("(loop $again {bomb} (br $again))")), Resource::Cycles);
        let mut stage = Stage::new(actor(&receive(bomb)));
        let before = stage.probe.left.cycles;
        stage.tell(b"").unwrap();
        let used = before - stage.probe.left.cycles;
        // And for the 32 pages that it wrote.
        let bytes = used - 32 * 3_000;
        assert!((131_000..132_000).contains(&bytes), "{bomb}: {used}");
    }
}

/// Host functions that copy are paid for before they do.
#[test]
fn host_calls_are_charged_by_the_byte() {
    let bomb = "(loop $again
        (call $log (i32.const 3) (i32.const 0) (i32.const 4096)) (br $again))";
    let failure = beside_a_neighbour(&receive(bomb), Quota { memory: 1 << 40, ..QUOTA });
    assert!(
        matches!(failure, Failure::Exhausted(exhausted) if exhausted.0 == Resource::Cycles),
        "{failure:?}"
    );
    let mut stage =
        Stage::new(actor(&receive("(call $message_read (i32.const 0) (i32.const 0) (i32.const 100000))")));
    stage.probe.left.cycles = 50_000;
    let failure = stage.tell(&[0; 100_000]).unwrap_err();
    assert!(
        matches!(failure, Failure::Exhausted(exhausted) if exhausted.0 == Resource::Cycles),
        "{failure:?}"
    );
}

/// A guest that believes what a message says of itself: its wrong lengths end its own event only.
#[test]
fn unmarshal_bomb() {
    let trusting = receive(
        "(call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
         (call $message_read (i32.const 4) (i32.const 4) (i32.load (i32.const 0)))",
    );
    let mut stage = Stage::new(actor(&trusting));
    for length in [5, 1 << 20, u32::MAX, 1 << 31] {
        let failure = stage.tell(&word(length)).unwrap_err();
        assert!(failure.to_string().starts_with("message_read: bytes"), "{failure}");
    }
    stage.tell(&word(0)).unwrap();
}

/// More addresses, or more bytes, than a message may have do not get in from outside either.
#[test]
fn oversized_messages_do_not_arrive() {
    let mut stage = Stage::new(actor(&receive("")));
    let failure = stage.tell(&vec![0; (1 << 20) + 1]).unwrap_err();
    assert!(failure.to_string().contains("1048577 bytes, and 1048576 are allowed"), "{failure}");
    let addresses = vec![&stage.collector; 257];
    let message = packet(b"", &addresses);
    stage.probe.send(&stage.actor.clone(), message);
    let failure = stage.run().unwrap_err();
    assert!(failure.to_string().contains("257 addresses, and 256 are allowed"), "{failure}");
    stage.tell(b"").unwrap();
}

/// Handles that are never released: the table has an end, and it is paid for.
#[test]
fn hoarded_addresses() {
    let hoard = "(loop $again (drop (call $message_address (i32.const 0))) (br $again))";
    let failure = beside_a_neighbour(&receive(hoard), Quota { memory: 1 << 20, ..QUOTA });
    assert!(
        matches!(failure, Failure::Exhausted(exhausted) if exhausted.0 == Resource::Memory),
        "{failure:?}"
    );
    let failure = beside_a_neighbour(&receive(hoard), Quota { memory: 1 << 40, ..QUOTA });
    assert!(failure.to_string().contains("65537 handles, and 65536 are allowed"), "{failure}");
}

#[test]
fn traps_say_what_and_where() {
    let cases = [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "divide by zero"),
        ("(drop (i32.load (i32.const 131072)))", "out of bounds memory access"),
        ("(drop (i32.load offset=4294967295 (i32.const -1)))", "out of bounds memory access"),
        ("(drop (i32.trunc_f32_u (f32.const -5)))", "overflow"),
        ("(memory.fill (i32.const 131070) (i32.const 1) (i32.const 4))", "out of bounds memory access"),
    ];
    for (code, expected) in cases {
        let body = format!("(func $inner_function {code}) {}", receive("(call $inner_function)"));
        let failure = beside_a_neighbour(&body, QUOTA);
        let Failure::Panicked(words) = &failure else { panic!("{code}: {failure:?}") };
        assert!(words.contains(expected) && words.contains("inner_function"), "{code}: {words}");
    }
}

#[test]
fn a_trap_at_the_start() {
    let body = format!("(func $begin unreachable) (start $begin) {}", receive(""));
    let failure = beside_a_neighbour(&body, QUOTA);
    assert!(matches!(&failure, Failure::Panicked(words) if words.contains("begin")), "{failure:?}");
}

/// With cycles enough for hours, the clock ends the event. In both kinds of metering.
#[test]
fn the_clock_ends_what_runs_too_long() {
    for metering in [Metering::Fuel, Metering::Epoch] {
        let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
        let options = EngineOptions {
            metering,
            limits,
            event_time: Duration::from_millis(5),
            ..EngineOptions::default()
        };
        let engine = Engine::new(options).unwrap();
        for code in [
            "(loop $again (br $again))",
            "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 131000)) (br $again))",
            "(loop $again (call $release (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (br $again))",
        ] {
            let module = engine.compile(&binary(&receive(code))).unwrap();
            let quota = Quota { memory: 1 << 40, cycles: 1 << 60, events: 10 };
            let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
            let begun = Instant::now();
            let failure = stage.tell(b"").unwrap_err();
            let words = failure.to_string();
            // A fast machine comes to the end of the effects first.
            assert!(
                words.contains("ran for longer than 5ms") || words.contains("sends and creates"),
                "{words}"
            );
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
    }
}

/// The watchdog sleeps when nothing runs, and is awake when something does.
#[test]
fn the_clock_wakes_up_again() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let options = EngineOptions { limits, event_time: Duration::from_millis(2), ..EngineOptions::default() };
    let engine = Engine::new(options).unwrap();
    let module = engine.compile(&binary(&receive("(loop $again (br $again))"))).unwrap();
    for _ in 0..3 {
        let quota = Quota { memory: 1 << 40, cycles: 1 << 60, events: 10 };
        let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
        assert!(stage.tell(b"").unwrap_err().to_string().contains("ran for longer than 2ms"));
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Actors of one module share nothing: what one writes, no other sees.
#[test]
fn actors_of_one_module_share_nothing() {
    let module = module(COUNTER);
    let mut one = Stage::new(module.actor(0, Packet::default()));
    let mut other = Stage::new(module.actor(0, Packet::default()));
    one.tell(&word(100)).unwrap();
    other.tell(&word(1)).unwrap();
    one.tell(&word(100)).unwrap();
    assert_eq!((sums(&one), sums(&other)), (vec![(105, 1), (205, 2)], vec![(6, 1)]));
}
