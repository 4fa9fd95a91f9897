//! State: undone when an event fails, kept when it completes, and the same wherever it is brought back.

use banyan_actors::wasm::{Engine, EngineOptions, Limits, RestoreError};
use banyan_actors::{Failure, Packet, Saved};
use proptest::prelude::*;

use super::{COUNTER, Shared, Stage, actor, binary, module, sums, word};

/// A trap takes back the memory, the globals and the sends of its event.
#[test]
fn a_failed_event_leaves_nothing() {
    let mut stage = Stage::new(actor(COUNTER));
    stage.tell(&word(1)).unwrap();
    let failure = stage.tell(&word(13)).unwrap_err();
    assert!(matches!(&failure, Failure::Panicked(words) if words.contains("unreachable")), "{failure:?}");
    stage.tell(&word(2)).unwrap();
    assert_eq!(sums(&stage), [(6, 1), (8, 2)]);
}

/// Also when it is the first event of all: what the actor was created with is still there.
#[test]
fn a_failed_first_event_leaves_a_fresh_actor() {
    let mut stage = Stage::new(actor(COUNTER));
    stage.tell(&word(13)).unwrap_err();
    stage.tell(&word(1)).unwrap();
    assert_eq!(sums(&stage), [(6, 1)]);
}

/// Growth is undone too: the memory is as short as it was.
#[test]
fn a_failed_event_gives_back_what_it_grew() {
    let body = r#"(func (export "banyan_receive") (param i32 i32 i32)
        (i32.store (i32.const 0) (memory.size))
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0))
        (drop (memory.grow (i32.const 5)))
        (i32.store (i32.const 400000) (i32.const 1))
        (call $message_read (i32.const 0) (i32.const 0) (i32.const 1))
        (if (i32.load8_u (i32.const 0)) (then unreachable)))"#;
    let mut stage = Stage::new(actor(body));
    stage.tell(&[0]).unwrap();
    stage.tell(&[1]).unwrap_err();
    stage.tell(&[0]).unwrap();
    assert_eq!(stage.collected(), [word(2), word(7)]);
}

/// With more actors than instances, every event finds its actor put away, and nothing differs.
#[test]
fn actors_beyond_the_instances_are_put_away_and_had_again() {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let options = EngineOptions { limits, instances: 1, ..EngineOptions::default() };
    let engine = Engine::new(options).unwrap();
    let module = engine.compile(&binary(COUNTER)).unwrap();
    let mut stages: Vec<Stage> = (0..4).map(|_| Stage::new(module.actor(0, Packet::default()))).collect();
    for round in 0..5 {
        for stage in &mut stages {
            stage.tell(&word(round)).unwrap();
        }
    }
    for stage in &stages {
        assert_eq!(sums(stage), [(5, 1), (6, 2), (8, 3), (11, 4), (15, 5)]);
    }
}

/// Room for actors is bounded, and the one that finds none says so; with room again, it goes on.
#[test]
fn actors_beyond_the_room_say_so() {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let engine = Engine::new(EngineOptions { limits, actors: 1, ..EngineOptions::default() }).unwrap();
    let module = engine.compile(&binary(COUNTER)).unwrap();
    let mut first = Stage::new(module.actor(0, Packet::default()));
    let mut second = Stage::new(module.actor(0, Packet::default()));
    first.tell(&word(1)).unwrap();
    let failure = second.tell(&word(1)).unwrap_err();
    assert!(failure.to_string().contains("1 are allowed at a time"), "{failure}");
    first.tell(&word(1)).unwrap();
    drop(first);
    second.tell(&word(1)).unwrap();
    assert_eq!(sums(&second), [(6, 1)]);
}

#[test]
fn the_start_function_runs_once() {
    let body = r#"
        (global $starts (mut i32) (i32.const 0))
        (func $begin (global.set $starts (i32.add (global.get $starts) (i32.const 1))))
        (start $begin)
        (func (export "banyan_receive") (param i32 i32 i32)
            (i32.store (i32.const 0) (global.get $starts))
            (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0))
            (call $message_read (i32.const 0) (i32.const 0) (i32.const 1))
            (if (i32.load8_u (i32.const 0)) (then unreachable)))"#;
    let mut stage = Stage::new(actor(body));
    stage.tell(&[1]).unwrap_err();
    stage.tell(&[0]).unwrap();
    stage.tell(&[1]).unwrap_err();
    stage.tell(&[0]).unwrap();
    assert_eq!(stage.collected(), [word(1), word(1)]);
}

/// An active segment counts as dropped, a passive one can be copied from, in a fresh instance and in a later
/// one.
#[test]
fn segments_are_as_webassembly_has_them() {
    let body = r#"
        (data $active (i32.const 0) "active")
        (data $passive "passive")
        (func (export "banyan_receive") (param i32 i32 i32)
            (memory.init $active (i32.const 0) (i32.const 0) (i32.const 0))
            (memory.init $passive (i32.const 8) (i32.const 0) (i32.const 7))
            (call $send (call $message_address (i32.const 0)) (i32.const 8) (i32.const 7) (i32.const 0) (i32.const 0))
            (call $message_read (i32.const 64) (i32.const 0) (i32.const 1))
            (if (i32.load8_u (i32.const 64)) (then
                (memory.init $active (i32.const 0) (i32.const 0) (i32.const 1)))))"#;
    let mut stage = Stage::new(actor(body));
    stage.tell(&[0]).unwrap();
    assert!(stage.tell(&[1]).unwrap_err().to_string().contains("out of bounds"));
    stage.tell(&[0]).unwrap();
    assert_eq!(stage.collected(), [b"passive", b"passive"]);
}

/// The counter with its state in every type of global, and in a page far from the others.
const GLOBALS: &str = r#"
    (global $a (mut i32) (i32.const 1)) (global $b (mut i64) (i64.const 2))
    (global $c (mut f32) (f32.const 3)) (global $d (mut f64) (f64.const 4))
    (global $e (mut v128) (v128.const i64x2 5 6))
    (table 1 funcref) (elem (i32.const 0) $bump)
    (type $nothing (func))
    (func $bump
        (global.set $a (i32.add (global.get $a) (i32.const 1)))
        (global.set $b (i64.add (global.get $b) (i64.const 1)))
        (global.set $c (f32.add (global.get $c) (f32.const 1)))
        (global.set $d (f64.add (global.get $d) (f64.const 1)))
        (global.set $e (i64x2.add (global.get $e) (v128.const i64x2 1 1))))
    (func (export "banyan_receive") (param i32 i32 i32)
        (call_indirect (type $nothing) (i32.const 0))
        (call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
        (i32.store (i32.const 120000) (i32.add (i32.load (i32.const 120000)) (i32.load (i32.const 0))))
        (i32.store (i32.const 0) (global.get $a)) (i64.store (i32.const 8) (global.get $b))
        (f32.store (i32.const 16) (global.get $c)) (f64.store (i32.const 24) (global.get $d))
        (v128.store (i32.const 32) (global.get $e))
        (i32.store (i32.const 48) (i32.load (i32.const 120000)))
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 52) (i32.const 0) (i32.const 0)))"#;

/// An actor that is saved and restored goes on as the one that was not.
#[test]
fn a_restored_actor_goes_on() {
    let module = module(GLOBALS);
    let mut saved = module.actor(0, Packet::default()).save().unwrap();
    let mut whole = Stage::new(module.actor(0, Packet::default()));
    for round in 0..5u32 {
        // From its very first event on, the actor is only ever what was saved.
        let restored = Shared::new(module.restore(&saved).unwrap());
        let mut stage = Stage::new(Box::new(restored.clone()));
        stage.tell(&word(round)).unwrap();
        whole.tell(&word(round)).unwrap();
        assert_eq!(stage.collected(), whole.collected(), "round {round}");
        saved = restored.save();
    }
}

#[test]
fn a_state_of_another_module_is_refused() {
    let mut behaviour = module(GLOBALS).actor(0, Packet::default());
    let saved = behaviour.save().unwrap();
    assert!(matches!(module(COUNTER).restore(&saved), Err(RestoreError::OtherModule { .. })));
}

fn started() -> Saved {
    let actor = Shared::new(actor(GLOBALS));
    Stage::new(Box::new(actor.clone())).tell(&word(3)).unwrap();
    actor.save()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Any bytes give an actor or an error, and an actor that they give does not bring down its host.
    #[test]
    fn any_state_gives_an_actor_or_an_error(at in 0usize..20_000, value: u8, cut in 0usize..20_000) {
        thread_local! {
            static STARTED: (banyan_actors::wasm::Module, Saved) = (module(GLOBALS), started());
        }
        let (module, mut saved) = STARTED.with(Clone::clone);
        let length = saved.state.bytes.len();
        saved.state.bytes[at % length] = value;
        if cut < length {
            saved.state.bytes.truncate(cut);
        }
        if let Ok(behaviour) = module.restore(&saved) {
            let _ = Stage::new(behaviour).tell(&word(1));
        }
    }
}
