//! What an event costs, and what ends one that would go on for ever.

mod costs;
mod endless;

use std::time::{Duration, Instant};

use banyan_actors::wasm::{Engine, EngineOptions, Metering};
use banyan_actors::{Failure, Packet, Quota};

use super::{COUNTER, Shared, Stage, actor, binary, receive, sums, word};

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

/// Events whose length is about what is allowed: whichever way each ends, it ends that way alone, and the
/// actor goes on from where its last completed event left it.
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

/// One event's time is not counted for the next: together, events without a pause may take as long as they
/// like.
#[test]
fn the_clock_begins_anew_with_each_event() {
    let event_time = Duration::from_millis(200);
    let engine = Engine::new(EngineOptions { event_time, actors: 4, ..EngineOptions::default() }).unwrap();
    let code = "(call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
        (local.set $i (i32.load (i32.const 0)))
        (loop $again (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))";
    let module = engine.compile(&binary(&receive(code))).unwrap();
    let quota = Quota { memory: 1 << 30, cycles: u64::MAX, events: u64::MAX };
    let mut stage = Stage::with(module.actor(0, Packet::default()), quota);
    // As many turns as take an eighth of what is allowed.
    let mut turns = 1 << 16;
    let eighth = loop {
        let begun = Instant::now();
        stage.tell(&word(turns)).unwrap();
        if begun.elapsed() > event_time / 8 {
            break begun.elapsed();
        }
        turns *= 2;
    };
    for number in 0..16 {
        let result = stage.tell(&word(turns));
        assert_eq!(result, Ok(()), "event {number} of those that take {eighth:?}");
    }
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
