//! Modules with random bytes changed: each is refused with an error before it is compiled, or its events end
//! within their bounds.

use banyan_actors::wasm::{Engine, EngineOptions, Limits, ModuleError};
use banyan_actors::{Packet, Quota};

use super::{COUNTER, Stage, binary, packet, word};

/// A generator with its state in one word (xorshift64*): the same modules in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % below
    }
}

const FEATURES: &str = r#"
    (table 4 funcref) (elem (i32.const 0) $one $two $one) (elem $passive func $two)
    (global $a (mut i32) (i32.const 1)) (global $b (mut v128) (v128.const i64x2 1 2))
    (data (i32.const 64) "active data of some length") (data $more "and passive data")
    (type $take (func (param i32) (result i32)))
    (func $one (param i32) (result i32) (i32.mul (local.get 0) (global.get $a)))
    (func $two (param i32) (result i32)
        (memory.init $more (i32.const 200) (i32.const 0) (i32.const 10))
        (memory.copy (i32.const 300) (i32.const 64) (i32.const 20))
        (i32.load (i32.const 300)))
    (func $begin (global.set $a (i32.const 3)))
    (start $begin)
    (func (export "banyan_start") (param i32 i32 i32) (call $log (i32.const 3) (i32.const 64) (i32.const 5)))
    (func (export "banyan_receive") (param i32 i32 i32) (local $i i32)
        (loop $again
            (global.set $b (i32x4.splat (call_indirect (type $take) (local.get $i) (i32.const 1))))
            (drop (call_indirect (type $take) (local.get $i) (i32.const 0)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
        (drop (memory.grow (i32.const 1)))
        (call $send (call $create (i32.const 1) (i32.const 64) (i32.const 4) (i32.const 0) (i32.const 0))
            (i32.const 64) (i32.const 8) (i32.const 0) (i32.const 1)))"#;

#[test]
fn mutated_modules_are_refused_or_contained() {
    let limits = Limits { memory_bytes: 1 << 20, functions: 100, ..Limits::default() };
    let event_time = std::time::Duration::from_millis(20);
    let engine =
        Engine::new(EngineOptions { limits, event_time, actors: 64, ..EngineOptions::default() }).unwrap();
    let originals = [binary(COUNTER), binary(FEATURES)];
    let mut random = Random(0x0ba4_7a11);
    let (mut refused, mut run) = (0, 0);
    let rounds = std::env::var("BANYAN_MUTATIONS").ok().and_then(|rounds| rounds.parse().ok());
    for round in 0..rounds.unwrap_or(1_500) {
        let mut bytes = originals[round % 2].clone();
        for _ in 0..=random.next(3) {
            let at = random.next(bytes.len());
            match random.next(4) {
                0 => bytes[at] = random.next(256) as u8,
                1 => bytes[at] ^= 1 << random.next(8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.next(256) as u8),
            }
        }
        let module = match engine.compile(&bytes) {
            Ok(module) => module,
            // What the validator has taken is valid when it has been rewritten, too.
            Err(ModuleError::Compile(error)) => panic!("round {round}: {error}"),
            Err(_) => {
                refused += 1;
                continue;
            }
        };
        run += 1;
        let quota = Quota { memory: 4 << 20, cycles: 1_000_000, events: 20 };
        let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
        for _ in 0..2 {
            let message = packet(&word(1), &[&stage.collector]);
            stage.probe.send(&stage.actor, message);
            for _ in 0..20 {
                if stage.probe.step().is_none_or(|step| step.failure.is_some()) {
                    break;
                }
            }
        }
    }
    // Both kinds must occur, or the test tests nothing.
    assert!(refused > 50 && run > 50, "{refused} were refused, {run} ran");
}
