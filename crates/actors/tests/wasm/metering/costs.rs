//! What an event costs, counted by hand.

use banyan_actors::{Failure, Quota, Resource};

use super::{Stage, actor, receive};

/// Fuel for a page that an event has written.
const PAGE: u64 = 3_000;
/// Fuel for a call of the host.
const HOST: u64 = 100;

/// What the second event of a guest costs that gets a message of so many bytes, which is the function's
/// parameter 1.
fn costs(body: &str, length: usize) -> u64 {
    let mut stage = Stage::new(actor(body));
    stage.tell(&vec![0; length]).unwrap();
    let before = stage.probe.left.cycles;
    stage.tell(&vec![0; length]).unwrap();
    before - stage.probe.left.cycles
}

fn turns(variable: &str, bound: &str, body: &str) -> String {
    format!(
        "(loop $again{variable} {body}
            (br_if $again{variable} (i32.lt_u
                (local.tee ${variable} (i32.add (local.get ${variable}) (i32.const 1))) {bound})))"
    )
}

/// What there is, what it costs with a message of no bytes, and of three.
type Priced = (&'static str, String, u64, u64);

/// Choices, loops and branches.
fn ways() -> Vec<Priced> {
    vec![
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
    ]
}

/// Calls, and what moves many bytes.
fn calls_and_copies() -> Vec<Priced> {
    vec![
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
            receive(
                "(memory.fill (i32.const 0) (local.get 1) (local.get 1)) (memory.copy (i32.const 8) (i32.const 0) (i32.const 5))",
            ),
            4 + 4 + 5 + PAGE,
            4 + 3 + 4 + 5 + PAGE,
        ),
        (
            "copying from the module",
            format!(
                r#"(data $words "abcdefgh") {}"#,
                receive("(memory.init $words (i32.const 0) (i32.const 0) (local.get 1))")
            ),
            4,
            4 + 3 + PAGE,
        ),
    ]
}

#[test]
fn every_instruction_costs_one_and_structure_nothing() {
    for (what, body, none, three) in ways().into_iter().chain(calls_and_copies()) {
        assert_eq!((costs(&body, 0), costs(&body, 3)), (none, three), "{what}");
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

/// What one instruction copies is paid for before it is copied.
#[test]
fn one_instruction_cannot_copy_more_than_is_paid_for() {
    let quota = Quota { memory: 1 << 30, cycles: 1_000, events: 100 };
    let mut stage =
        Stage::with(actor(&receive("(memory.fill (i32.const 0) (i32.const 1) (i32.const 1000))")), quota);
    let failure = stage.tell(b"").unwrap_err();
    assert!(matches!(failure, Failure::Exhausted(lack) if lack.0 == Resource::Cycles));
}
