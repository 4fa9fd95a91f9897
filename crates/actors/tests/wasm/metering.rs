//! What an event costs, counted by hand, and what ends one that would go on for ever.

use std::sync::OnceLock;
use std::time::Duration;

use banyan_actors::wasm::{Engine, EngineOptions, Metering};
use banyan_actors::{Failure, Packet, Quota, Resource};

use super::{COUNTER, Shared, Stage, actor, binary, engine, sums, word};

/// Fuel for a page that an event has written.
const PAGE: u64 = 3_000;
/// Fuel for a call of the host.
const HOST: u64 = 100;

/// What the second event of a guest costs that gets a message of so many bytes, which is the function's parameter 1.
fn costs(body: &str, length: usize) -> u64 {
    let mut stage = Stage::new(actor(body));
    stage.tell(&vec![0; length]).unwrap();
    let before = stage.probe.left.cycles;
    stage.tell(&vec![0; length]).unwrap();
    before - stage.probe.left.cycles
}

fn receive(code: &str) -> String {
    format!(r#"(func (export "banyan_receive") (param i32 i32 i32) (local $i i32) (local $k i32) {code})"#)
}

fn turns(variable: &str, bound: &str, body: &str) -> String {
    format!(
        "(loop $again{variable} {body}
            (br_if $again{variable} (i32.lt_u
                (local.tee ${variable} (i32.add (local.get ${variable}) (i32.const 1))) {bound})))"
    )
}

#[test]
fn every_instruction_costs_one_and_structure_nothing() {
    // What there is, what it costs with a message of no bytes, and of three.
    let cases: &[(&str, String, u64, u64)] = &[
        ("nothing", receive(""), 0, 0),
        ("a straight line", receive("(drop (i32.add (i32.const 1) (i32.const 2))) nop (block)"), 3, 3),
        (
            "a choice",
            receive("(if (local.get 1) (then (drop (i32.const 1))) (else (drop (i32.eqz (i32.const 1)))))"),
            2 + 2,
            2 + 1,
        ),
        (
            "a choice of one, and more behind it",
            receive("(if (local.get 1) (then (drop (i32.const 1)))) (drop (i32.const 1))"),
            2 + 1,
            2 + 1 + 1,
        ),
        (
            "choices that leave by different ways",
            receive(
                "(block $out
                    (block (br_if 0 (local.get 1)) (drop (i32.const 1)) (drop (i32.const 1)) (br $out))
                    (br_if $out (i32.eqz (local.get 1)))
                    (drop (i32.const 1)))
                (drop (i32.const 1))",
            ),
            2 + 3 + 1,
            2 + 3 + 1 + 1,
        ),
        (
            "a value that is carried out by a branch",
            receive("(drop (block (result i32) (drop (br_if 0 (i32.const 1) (local.get 1))) (i32.const 2)))"),
            3 + 1,
            3,
        ),
        (
            "several values",
            receive(
                "(block (result i32 i64) (i32.const 1) (i64.const 2) (br_if 0 (local.get 1)) (drop) (i64.const 3))
                drop drop",
            ),
            4 + 1,
            4,
        ),
        ("a loop", receive(&turns("i", "(local.get 1)", "")) , 7, 7 * 3),
        (
            "loops in loops",
            receive(&turns("i", "(local.get 1)", &format!("(local.set $k (i32.const 0)) {}", turns("k", "(i32.const 2)", "")))),
            7 + 2 + 2 * 7,
            3 * (7 + 2 + 2 * 7),
        ),
        (
            "a loop with a choice in it",
            receive(&turns("i", "(local.get 1)", "(if (local.get $i) (then (drop (i32.const 1)) (drop (i32.const 1))))")),
            7 + 2,
            3 * (7 + 2) + 2 * 2,
        ),
        (
            "a table of branches",
            receive(
                "(block $three (block $two (block $one (block $none
                    (br_table $none $one $two $three (local.get 1)))
                    (drop (i32.const 1)) (drop (i32.const 1)) (br $three))
                    (drop (i32.const 1)))
                    (drop (i32.const 1)))
                (drop (i32.const 1))",
            ),
            2 + 3 + 1,
            2 + 1,
        ),
        (
            "a table of branches to a loop and out of it",
            receive(
                "(block $out (loop $again
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_table $out $again $again $again $out (i32.sub (i32.add (local.get 1) (local.get $i)) (i32.const 1)))))
                (drop (i32.const 1))",
            ),
            // The numbers are 0; or 3 and 4.
            4 + 6 + 1,
            2 * (4 + 6) + 1,
        ),
        (
            "an early return",
            receive("(if (local.get 1) (then (return))) (drop (i32.const 1)) (br_if 0 (i32.const 1)) (drop (i32.const 1))"),
            2 + 1 + 2,
            2,
        ),
        (
            "calls",
            format!(
                "(func $half (param i32) (result i32) (i32.shr_u (local.get 0) (i32.const 1)))
                (func $both (param i32) (result i32 i32) (local.get 0) (call $half (local.get 0)))
                {}",
                receive("(call $both (local.get 1)) drop drop (drop (call $half (i32.const 8)))"),
            ),
            (1 + 1 + 1 + 1 + 1 + 3) + (1 + 1 + 3),
            (1 + 1 + 1 + 1 + 1 + 3) + (1 + 1 + 3),
        ),
        (
            "calls by a table",
            format!(
                "(func $none (param i32)) (func $one (param i32) (drop (local.get 0)))
                (table funcref (elem $none $one $one $one))
                {}",
                receive("(call_indirect (param i32) (i32.const 5) (local.get 1))"),
            ),
            3,
            3 + 1,
        ),
        (
            "calls in place of the caller",
            format!(
                "(func $down (param i32) (if (local.get 0) (then
                    (return_call_indirect (param i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))
                (table funcref (elem $down))
                {}",
                receive("(return_call $down (local.get 1))"),
            ),
            2 + 2,
            2 + 3 * (2 + 5) + 2,
        ),
        (
            "calls of the host",
            receive(&turns("i", "(local.get 1)", "(call $become (i32.const 0))")),
            7 + 2 + HOST,
            3 * (7 + 2 + HOST),
        ),
        (
            "copying",
            receive("(memory.fill (i32.const 0) (local.get 1) (local.get 1)) (memory.copy (i32.const 8) (i32.const 0) (i32.const 5))"),
            4 + 4 + 5 + PAGE,
            4 + 3 + 4 + 5 + PAGE,
        ),
        (
            "copying from the module",
            format!(r#"(data $words "abcdefgh") {}"#,
                receive("(memory.init $words (i32.const 0) (i32.const 0) (local.get 1))")),
            4,
            4 + 3 + PAGE,
        ),
    ];
    for (what, body, none, three) in cases {
        assert_eq!((costs(body, 0), costs(body, 3)), (*none, *three), "{what}");
    }
}

/// A start function, and what an actor is told at its start, are paid for by its first event.
#[test]
fn what_runs_at_the_start_is_paid_for() {
    let body = format!(
        r#"(func $begin (drop (i32.const 1))) (start $begin)
        (func (export "banyan_start") (param i32 i32 i32) (drop (i32.eqz (i32.const 1)))) {}"#,
        receive("(drop (i32.const 1)) (drop (i32.const 1)) (drop (i32.const 1))")
    );
    let mut stage = Stage::new(actor(&body));
    let mut left = Vec::new();
    for _ in 0..3 {
        left.push(stage.probe.left.cycles);
        stage.tell(b"").unwrap();
    }
    left.push(stage.probe.left.cycles);
    let used: Vec<u64> = left.windows(2).map(|pair| pair[0] - pair[1]).collect();
    assert_eq!(used, [1 + 2 + 3, 3, 3]);
}

/// With exactly what it costs an event completes, and with one less it does not.
#[test]
fn the_last_unit_decides() {
    let body = receive(&turns("i", "(i32.const 50)", "(call $become (i32.const 0))"));
    let cost = 50 * (7 + 2 + HOST);
    let quota = |cycles| Quota { memory: 1 << 30, cycles, events: 100 };
    let mut stage = Stage::with(actor(&body), quota(cost));
    stage.tell(b"").unwrap();
    assert_eq!(stage.probe.left.cycles, 0);
    let mut stage = Stage::with(actor(&body), quota(cost - 1));
    let failure = stage.tell(b"").unwrap_err();
    assert!(matches!(&failure, Failure::Exhausted(lack) if lack.0 == Resource::Cycles), "{failure:?}");
}

/// Fuel can run out between two looks at it: then the event's end finds out, whatever it did meanwhile.
#[test]
fn fuel_that_runs_out_behind_the_last_check_is_missed() {
    let body = receive(r#"(drop (i32.const 1)) (drop (i32.const 1)) (drop (i32.const 1))"#);
    let quota = Quota { memory: 1 << 30, cycles: 2, events: 100 };
    let failure = Stage::with(actor(&body), quota).tell(b"").unwrap_err();
    assert!(matches!(&failure, Failure::Exhausted(lack) if lack.0 == Resource::Cycles), "{failure:?}");
}

/// A trap of the guest's own is one, and no lack of fuel; whatever fuel is left.
#[test]
fn a_trap_of_the_guests_own_is_told_from_being_stopped() {
    for code in ["unreachable", "(loop (br_if 0 (local.get 1)) unreachable)"] {
        for cycles in [10, 1_000_000] {
            let quota = Quota { memory: 1 << 30, cycles, events: 100 };
            let failure = Stage::with(actor(&receive(code)), quota).tell(b"").unwrap_err();
            let Failure::Panicked(words) = &failure else { panic!("{failure:?}") };
            assert!(words.contains("unreachable"), "{words}");
        }
    }
}

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

/// How the first event of a guest fails. It runs on a thread of its own, so that one which nothing ends fails the test.
fn first_failure(what: &str, engine: &Engine, body: &str, cycles: u64) -> (Failure, u64) {
    let module = engine.compile(&binary(body)).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let quota = Quota { memory: 1 << 30, cycles, events: 100 };
        let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
        let failure = stage.tell(b"").expect_err("it never completes");
        // Whoever waits for it may have given up.
        let _ = sender.send((failure, stage.probe.left.cycles));
    });
    let failure = receiver.recv_timeout(Duration::from_secs(120));
    failure.unwrap_or_else(|error| panic!("{what}: nothing ends it ({error})"))
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

/// Events whose length is about what is allowed: whichever way each ends, it ends that way alone, and the actor goes on
/// from where its last completed event left it.
#[test]
fn an_event_that_ends_as_it_is_cut_off_did_one_or_the_other() {
    let event_time = Duration::from_millis(1);
    for metering in [Metering::Fuel, Metering::Epoch] {
        let engine =
            Engine::new(EngineOptions { metering, event_time, actors: 4, ..EngineOptions::default() })
                .unwrap();
        let body = COUNTER.replace(
            "(global.set $events",
            "(call $message_read (i32.const 0) (i32.const 0) (i32.const 8))
            (local.set $turns (i32.load (i32.const 4)))
            (loop $again (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
            (global.set $events",
        );
        let body = body.replace("(param i32 i32 i32)", "(param i32 i32 i32) (local $turns i32)");
        let module = engine.compile(&binary(&body)).unwrap();
        let quota = Quota { memory: 1 << 30, cycles: u64::MAX, events: u64::MAX };
        let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
        let (mut turns, mut completed, mut cut) = (1u32 << 16, 0u32, 0);
        for _ in 0..200 {
            let message = [word(1), word(turns)].concat();
            match stage.tell(&message) {
                Ok(()) => {
                    completed += 1;
                    assert_eq!(sums(&stage), [(5 + completed, completed)], "as if nothing else had been");
                    turns += turns / 16;
                }
                Err(failure) => {
                    assert!(failure.to_string().contains("ran for longer"), "{failure}");
                    assert_eq!(sums(&stage), []);
                    cut += 1;
                    turns -= turns / 8;
                }
            }
        }
        assert!(completed > 0 && cut > 0, "{metering:?}: {completed} completed, {cut} were cut off");
    }
}

/// What one instruction copies is paid for before it is copied.
#[test]
fn one_instruction_cannot_copy_more_than_is_paid_for() {
    let quota = Quota { memory: 1 << 30, cycles: 1_000, events: 100 };
    let mut stage =
        Stage::with(actor(&receive("(memory.fill (i32.const 0) (i32.const 1) (i32.const 1000))")), quota);
    let failure = stage.tell(b"").unwrap_err();
    assert!(matches!(failure, Failure::Exhausted(lack) if lack.0 == Resource::Cycles));
}

/// Nothing of the metering is part of what is kept: a state is the same however its actor was metered.
#[test]
fn a_kept_state_tells_nothing_of_metering() {
    let states = [Metering::Fuel, Metering::Epoch, Metering::None].map(|metering| {
        let engine = Engine::new(EngineOptions { metering, actors: 4, ..EngineOptions::default() }).unwrap();
        let module = engine.compile(&binary(COUNTER)).unwrap();
        let actor = Shared::new(module.actor(0, Packet::default()));
        let mut stage = Stage::new(Box::new(actor.clone()));
        stage.tell(&word(1)).unwrap();
        assert_eq!(sums(&stage), [(6, 1)]);
        actor.save().state.bytes
    });
    assert!(states[0] == states[1] && states[1] == states[2]);
}
