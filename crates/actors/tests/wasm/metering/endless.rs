//! What would go on for ever, and what ends it.

use std::sync::OnceLock;
use std::time::Duration;

use banyan_actors::wasm::{Engine, EngineOptions, Metering};
use banyan_actors::{Failure, Packet, Quota, Resource};

use crate::{Stage, binary, engine, receive, wide, within};

/// A function that is checked as it begins, and one that is not.
const CALLED: &str = "(func $leaf) (func $checked (call $leaf))";

/// Ways to go on for ever, each in its own kind of code.
const ENDLESS: &[(&str, &str, &str)] = &[
    ("an empty loop", "", "(loop $again (br $again))"),
    (
        "numbers",
        "",
        "(loop $again (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.const 1)))",
    ),
    ("loops in loops", "", "(loop $outer (loop $inner (br_if $inner (i32.const 0))) (br $outer))"),
    ("a table", "", "(loop $again (block $out (br_table $again $out $again (local.get $i))) (br $again))"),
    ("calls of what is not checked", CALLED, "(loop $again (call $leaf) (br $again))"),
    ("calls of what is checked", CALLED, "(loop $again (call $checked) (br $again))"),
    (
        "a call on a way that is not taken",
        CALLED,
        "(loop $again (if (local.get $i) (then (call $checked))) (br $again))",
    ),
    (
        "a call on one of two ways",
        CALLED,
        "(loop $again (block $out (br_if $out (i32.eqz (local.get $i))) (call $checked)) (br $again))",
    ),
    (
        "a call behind the way back",
        CALLED,
        "(loop $again (br_if $again (i32.eqz (local.get $i))) (call $checked) (br $again))",
    ),
    ("a call before the loop", CALLED, "(call $checked) (loop $again (br $again))"),
    (
        "a call around the loop",
        CALLED,
        "(loop $outer (call $checked) (loop $inner (br_if $inner (i32.eqz (local.get $i)))) (br $outer))",
    ),
    (
        "a call in a block that was left",
        CALLED,
        "(block (block (block (call $checked)))) (loop $again (br $again))",
    ),
    (
        "loops that end at once",
        CALLED,
        "(loop $outer (loop $inner (call $leaf) (br_if $inner (local.get $i))) (br $outer))",
    ),
    ("loops with values", "", "(i32.const 1) (loop $again (param i32) (i32.const 1) (i32.add) (br $again))"),
    (
        "a loop that is the target of every branch",
        "",
        "(loop $again (br_table $again $again $again (local.tee $i (i32.xor (local.get $i) (i32.const 1)))))",
    ),
    ("writing", "", "(loop $again (i32.store (i32.const 8) (local.get $i)) (br $again))"),
    ("calls in place of the caller", "(func $on (return_call $on))", "(call $on)"),
    (
        "calls of each other",
        "(func $one (return_call $other)) (func $other (return_call $one))",
        "(call $one)",
    ),
    (
        "calls by a table",
        "(func $on (return_call_indirect (i32.const 0))) (table funcref (elem $on))",
        "(call $on)",
    ),
    (
        "more calls than anybody could wait for",
        "(func $a (call $b) (call $b) (call $b) (call $b) (call $b) (call $b) (call $b) (call $b))
        (func $b (call $c) (call $c) (call $c) (call $c) (call $c) (call $c) (call $c) (call $c))
        (func $c (call $d) (call $d) (call $d) (call $d) (call $d) (call $d) (call $d) (call $d))
        (func $d (call $e) (call $e) (call $e) (call $e) (call $e) (call $e) (call $e) (call $e))
        (func $e (call $f) (call $f) (call $f) (call $f) (call $f) (call $f) (call $f) (call $f))
        (func $f (call $g) (call $g) (call $g) (call $g) (call $g) (call $g) (call $g) (call $g))
        (func $g (call $h) (call $h) (call $h) (call $h) (call $h) (call $h) (call $h) (call $h))
        (func $h (call $i) (call $i) (call $i) (call $i) (call $i) (call $i) (call $i) (call $i))
        (func $i (call $j) (call $j) (call $j) (call $j) (call $j) (call $j) (call $j) (call $j))
        (func $j (call $k) (call $k) (call $k) (call $k) (call $k) (call $k) (call $k) (call $k))
        (func $k)",
        "(loop $again (call $a) (br $again))",
    ),
    ("copies", "", "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072)) (br $again))"),
    ("the host", "", "(loop $again (call $become (i32.const 0)) (br $again))"),
];

fn clocked(metering: Metering) -> &'static Engine {
    static ENGINES: [OnceLock<Engine>; 2] = [OnceLock::new(), OnceLock::new()];
    let engine = &ENGINES[usize::from(metering == Metering::Fuel)];
    let event_time = Duration::from_millis(10);
    engine.get_or_init(|| {
        Engine::new(EngineOptions { metering, event_time, actors: 1_000, ..EngineOptions::default() })
            .unwrap()
    })
}

/// How the first event of a guest fails, and the cycles that it leaves.
fn first_failure(what: &str, engine: &Engine, body: &str, cycles: u64) -> (Failure, u64) {
    let module = engine.compile(&binary(body)).unwrap();
    within(60, what, move || {
        let quota = Quota { memory: 1 << 30, cycles, events: 100 };
        let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
        let failure = stage.tell(b"").expect_err("it never completes");
        (failure, stage.probe.left.cycles)
    })
}

#[test]
fn what_would_go_on_for_ever_uses_up_its_fuel() {
    for (what, functions, code) in ENDLESS {
        let body = format!("{functions} {}", receive(code));
        let (failure, left) = first_failure(what, engine(), &body, 3_000_000);
        assert!(
            matches!(&failure, Failure::Exhausted(lack) if lack.0 == Resource::Cycles),
            "{what}: {failure:?}"
        );
        assert_eq!(left, 0, "{what}");
    }
}

/// However much fuel there is, and also where none is counted.
#[test]
fn what_would_go_on_for_ever_is_cut_off_by_the_clock() {
    for metering in [Metering::Fuel, Metering::Epoch] {
        let engine = clocked(metering);
        let bodies =
            ENDLESS.iter().map(|(what, functions, code)| (*what, format!("{functions} {}", receive(code))));
        let begin = format!("(func $begin (loop $again (br $again))) (start $begin) {}", receive(""));
        for (what, body) in bodies.chain([("a loop in the start function", begin)]) {
            let (failure, _) = first_failure(what, engine, &body, u64::MAX);
            let words = failure.to_string();
            assert!(words.contains("ran for longer than 10ms"), "{what}, {metering:?}: {words}");
        }
    }
}

/// One instruction that takes many times as long as an event may run: it is stopped on its way. A look may
/// come late on a busy machine, so there are several attempts; an instruction in one piece withstands all.
#[test]
fn one_long_instruction_is_cut_off_by_the_clock() {
    let mut options =
        EngineOptions { event_time: Duration::from_millis(2), actors: 4, ..EngineOptions::default() };
    options.limits.memory_bytes = 512 << 20;
    for metering in [Metering::Fuel, Metering::Epoch] {
        let engine = Engine::new(EngineOptions { metering, ..options.clone() }).unwrap();
        let body = receive("(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1ff00000))");
        let module = engine.compile(&wide(&body, 8192)).unwrap();
        let quota = Quota { memory: 1 << 40, cycles: u64::MAX, events: 1_000 };
        let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
        let is_cut_off = |stage: &mut Stage| {
            let failure = stage.tell(b"").expect_err("it takes much longer");
            failure.to_string().contains("ran for longer than 2ms")
        };
        assert!((0..20).any(|_| is_cut_off(&mut stage)), "{metering:?}");
    }
}

/// What is moved in pieces is what is moved at once, whichever way it overlaps itself.
#[test]
fn long_copies_are_exact() {
    let piece = 64 << 10;
    for (to, from, length) in [
        (8, 0, 3 * piece + 5),
        (0, 8, 3 * piece + 5),
        (piece + 1, 0, 2 * piece),
        (0, piece + 1, 2 * piece),
        (4 * piece, 0, 2 * piece + 1),
        (7, 7, 2 * piece),
        (0, 4 * piece, piece),
        (0, 4 * piece, piece + 1),
    ] {
        let mut bytes: Vec<u8> =
            (0..8 * piece / 4).flat_map(|word: usize| (word as u32).to_le_bytes()).collect();
        bytes.copy_within(from..from + length, to);
        let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        let expected = words.fold(0_u32, |sum, word| sum.wrapping_mul(31).wrapping_add(word));
        let code = format!(
            "(loop $fill (i32.store (local.get $i) (i32.shr_u (local.get $i) (i32.const 2)))
                (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const {end}))))
            (memory.copy (i32.const {to}) (i32.const {from}) (i32.const {length}))
            (local.set $i (i32.const 0))
            (loop $sum
                (local.set $k (i32.add (i32.mul (local.get $k) (i32.const 31)) (i32.load (local.get $i))))
                (br_if $sum (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const {end}))))
            (if (i32.ne (local.get $k) (i32.const {expected})) (then unreachable))",
            end = 8 * piece,
            expected = expected as i32,
        );
        let options =
            EngineOptions { event_time: Duration::from_secs(60), actors: 4, ..EngineOptions::default() };
        let module =
            Engine::new(options).unwrap().compile(&wide(&receive(&code), (8 * piece) >> 16)).unwrap();
        let quota = Quota { memory: 1 << 30, cycles: u64::MAX, events: 100 };
        let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
        assert_eq!(stage.tell(b""), Ok(()), "{length} bytes from {from} to {to}");
    }
}
