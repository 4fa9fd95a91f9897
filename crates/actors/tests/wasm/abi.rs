//! The interface: messages, handles, creating, becoming, and what a wrong call gives.

use banyan_actors::{Addr, Failure, Message, Packet, Quota, Resource};

use super::{COUNTER, Stage, actor, bytes, module, packet, sums, text, word};

#[test]
fn a_message_is_read_and_answered() {
    let mut stage = Stage::new(actor(COUNTER));
    stage.tell(&word(7)).unwrap();
    stage.tell(&word(30)).unwrap();
    assert_eq!(sums(&stage), [(12, 1), (42, 2)]);
}

/// A native actor's typed message is what postcard makes of it, and its addresses are indexes.
#[test]
fn a_native_message_arrives_as_bytes_and_addresses() {
    let echo = r#"(func (export "banyan_receive") (param i32 i32 i32)
        (call $message_read (i32.const 0) (i32.const 0) (local.get 1))
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (local.get 1) (i32.const 0) (i32.const 0)))"#;
    let mut stage = Stage::new(actor(echo));
    let reply_to: Addr<u32> = stage.collector.clone().typed();
    stage.probe.send(&stage.actor.clone(), Message::new((reply_to, 300u32)));
    stage.run().unwrap();
    assert_eq!(stage.collected(), [[0, 0xac, 2]]);
}

/// A maker creates an actor with another behaviour, tells it a number and an address at its start, and writes
/// to it; the made one sends what it was told, then what it was sent, and becomes a third that only says its
/// behaviour.
#[test]
fn actors_are_created_started_and_become() {
    let body = r#"
        (data (i32.const 0) "told")
        (data (i32.const 8) "sent")
        (global $target (mut i32) (i32.const -1))
        (func (export "banyan_start") (param $behaviour i32) (param $bytes i32) (param i32)
            (if (i32.eq (local.get $behaviour) (i32.const 1)) (then
                (call $message_read (i32.const 64) (i32.const 0) (local.get $bytes))
                (global.set $target (call $message_address (i32.const 0)))
                (call $send (global.get $target) (i32.const 64) (local.get $bytes) (i32.const 0) (i32.const 0)))))
        (func (export "banyan_receive") (param $behaviour i32) (param $bytes i32) (param i32)
            (local $made i32)
            (if (i32.eqz (local.get $behaviour)) (then
                (i32.store (i32.const 32) (call $message_address (i32.const 0)))
                (local.set $made (call $create (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 32) (i32.const 1)))
                (call $send (local.get $made) (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 0))
                (call $send (local.get $made) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0))))
            (if (i32.eq (local.get $behaviour) (i32.const 1)) (then
                (call $message_read (i32.const 64) (i32.const 0) (local.get $bytes))
                (call $send (global.get $target) (i32.const 64) (local.get $bytes) (i32.const 0) (i32.const 0))
                (call $become (i32.const 77))))
            (if (i32.gt_u (local.get $behaviour) (i32.const 1)) (then
                (i32.store (i32.const 64) (local.get $behaviour))
                (call $send (global.get $target) (i32.const 64) (i32.const 4) (i32.const 0) (i32.const 0)))))"#;
    let mut stage = Stage::new(actor(body));
    stage.tell(b"").unwrap();
    assert_eq!(stage.collected(), [b"told".to_vec(), b"sent".to_vec(), word(77).to_vec()]);
}

/// The address of an actor that the same event creates can be sent away.
#[test]
fn a_created_actors_address_travels() {
    let body = r#"
        (func (export "banyan_receive") (param i32 i32 $count i32)
            (if (i32.eq (local.get $count) (i32.const 0)) (then (return)))
            (i32.store (i32.const 0) (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
            (i32.store (i32.const 4) (i32.const 0))
            (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2)))"#
        .replace("(param i32 i32 $count i32)", "(param i32 i32) (param $count i32)");
    let mut stage = Stage::new(actor(&body));
    stage.tell(b"").unwrap();
    let got = stage.collected.lock().unwrap().pop().unwrap();
    assert_eq!(got.addresses.len(), 2);
    assert_eq!(got.addresses[1], stage.actor, "handle 0 is the actor itself");
    assert_ne!(got.addresses[0], stage.actor);
    // And it leads to the new actor, which takes a message.
    stage.probe.send(&got.addresses[0], bytes(b""));
    assert_eq!(stage.probe.queued(), 1);
    stage.run().unwrap();
}

/// Whatever numbers a guest makes up, it reaches only what it was given: nobody else's address is behind any
/// of them.
#[test]
fn a_handle_that_was_never_given_leads_nowhere() {
    let body = r#"(func (export "banyan_receive") (param i32 i32 i32)
        (call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
        (call $send (i32.load (i32.const 0)) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#;
    for handle in (1..200).chain([u32::MAX, 1 << 31, 65_535, 65_536]) {
        let mut stage = Stage::new(actor(body));
        stage.probe.send(&stage.actor.clone(), bytes(&word(handle)));
        let failure = stage.run().unwrap_err();
        assert_eq!(
            failure,
            Failure::because(format!(
                "send: handle {handle} leads nowhere: it was never given to this actor, or it was released"
            ))
        );
    }
}

#[test]
fn a_released_handle_leads_nowhere() {
    let body = r#"(func (export "banyan_receive") (param i32 i32 i32)
        (local $handle i32)
        (local.set $handle (call $message_address (i32.const 0)))
        (call $release (local.get $handle))
        (call $send (local.get $handle) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#;
    let failure = Stage::new(actor(body)).tell(b"").unwrap_err();
    assert!(failure.to_string().starts_with("send: handle 1 leads nowhere"), "{failure}");
}

#[test]
fn the_same_actor_is_recognised() {
    let body = r#"(func (export "banyan_receive") (param i32 i32 i32)
        (i32.store8 (i32.const 0) (call $same (call $message_address (i32.const 0)) (call $message_address (i32.const 1))))
        (if (i32.eq (call $message_address (i32.const 0)) (call $message_address (i32.const 0))) (then unreachable))
        (i32.store8 (i32.const 1) (call $same (i32.const 0) (call $message_address (i32.const 0))))
        (i32.store8 (i32.const 2) (call $same (i32.const 0) (call $message_address (i32.const 2))))
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0)))"#;
    let mut stage = Stage::new(actor(body));
    let message = packet(b"", &[&stage.collector, &stage.collector, &stage.actor]);
    stage.probe.send(&stage.actor.clone(), message);
    stage.run().unwrap();
    assert_eq!(stage.collected(), [[1, 0, 1]]);
}

/// Every wrong argument ends the event with words that name the function and what was wrong.
#[test]
fn wrong_arguments_say_what_is_wrong() {
    let cases = [
        (
            "(call $message_read (i32.const 131070) (i32.const 0) (i32.const 4))",
            "message_read: bytes 0x1fffe",
        ),
        ("(call $message_read (i32.const -1) (i32.const 0) (i32.const 1))", "message_read: bytes 0xffffffff"),
        (
            "(call $message_read (i32.const 0) (i32.const 2) (i32.const 3))",
            "outside of the message of 4 bytes",
        ),
        (
            "(call $message_read (i32.const 0) (i32.const -1) (i32.const 1))",
            "outside of the message of 4 bytes",
        ),
        ("(drop (call $message_address (i32.const 1)))", "carries 1 addresses, and there is no number 1"),
        (
            "(call $send (i32.const 0) (i32.const 131072) (i32.const 1) (i32.const 0) (i32.const 0))",
            "send: bytes",
        ),
        (
            "(call $send (i32.const 0) (i32.const 0) (i32.const 1048577) (i32.const 0) (i32.const 0))",
            "1048577 bytes, and 1048576",
        ),
        (
            "(call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 257))",
            "257 addresses, and 256",
        ),
        (
            "(call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 131070) (i32.const 1))",
            "send: bytes 0x1fffe",
        ),
        (
            "(drop (call $create (i32.const 0) (i32.const -4) (i32.const 8) (i32.const 0) (i32.const 0)))",
            "create: bytes",
        ),
        ("(call $release (i32.const 0))", "release: handle 0 leads nowhere"),
        ("(drop (call $same (i32.const 0) (i32.const 9)))", "same: handle 9 leads nowhere"),
        ("(call $log (i32.const 9) (i32.const 0) (i32.const 0))", "log: there is no level 9"),
        ("(call $log (i32.const 0) (i32.const -1) (i32.const 5))", "log: bytes 0xffffffff"),
        ("(call $fail (i32.const 16) (i32.const 12))", "out of money"),
    ];
    for (call, expected) in cases {
        let body = format!(
            r#"(data (i32.const 16) "out of money") (func (export "banyan_receive") (param i32 i32 i32) {call})"#
        );
        let failure = Stage::new(actor(&body)).tell(&word(1)).unwrap_err();
        assert!(matches!(failure, Failure::Failed(_)), "{call}: {failure:?}");
        assert!(failure.to_string().contains(expected), "{call}: {failure}");
    }
}

/// The time is data of the event: however long the guest looks, it does not move.
#[test]
fn time_stands_still_during_an_event() {
    let body = r#"(func (export "banyan_receive") (param i32 i32 i32)
        (local $i i32)
        (i64.store (i32.const 0) (call $time))
        (loop $again
            (if (i64.ne (call $time) (i64.load (i32.const 0))) (then unreachable))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000))))
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 0)))"#;
    let mut stage = Stage::new(actor(body));
    stage.tell(b"").unwrap();
    assert_eq!(stage.collected().len(), 1);
}

/// What an event costs is exact: the same event costs the same, in every instance.
#[test]
fn cycles_are_exact_and_repeatable() {
    let module = module(COUNTER);
    let mut costs = Vec::new();
    for _ in 0..3 {
        let mut stage = Stage::new(module.actor(0, Packet::default()));
        for _ in 0..3 {
            let before = stage.probe.left;
            stage.probe.send(&stage.actor.clone(), packet(&word(1), &[&stage.collector.clone()]));
            stage.probe.step().unwrap();
            costs.push(before.cycles - stage.probe.left.cycles);
            stage.run().unwrap();
        }
    }
    assert!(costs[0] > 1_000, "{costs:?}");
    assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
}

/// Memory that grows is paid for, and what it grew survives the event.
#[test]
fn growing_is_paid_for() {
    let body = r#"(func (export "banyan_receive") (param i32 i32 i32)
        (i32.store (i32.const 0) (memory.grow (i32.const 3)))
        (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0)))"#;
    let mut stage = Stage::new(actor(body));
    let before = stage.probe.left.memory;
    stage.tell(b"").unwrap();
    let used = before - stage.probe.left.memory;
    assert!((3 << 16..(3 << 16) + 2_000).contains(&used), "{used}");
    stage.tell(b"").unwrap();
    // 4 MiB are 64 pages: past that, the guest is told -1, as WebAssembly has it, and goes on.
    for _ in 0..30 {
        stage.tell(b"").unwrap();
    }
    let got: Vec<i32> =
        stage.collected().iter().map(|bytes| i32::from_le_bytes(bytes[..].try_into().unwrap())).collect();
    assert_eq!(got[..3], [2, 5, 8]);
    assert_eq!(got[31], -1);
}

/// An event that its sponsor cannot pay is undone and comes again when there is more: as if it had come once.
#[test]
fn an_exhausted_event_is_undone_and_comes_again() {
    for (quota, resource) in [
        (Quota { memory: 64 << 20, cycles: 1_000, events: 100 }, Resource::Cycles),
        (Quota { memory: 150, cycles: 1 << 30, events: 100 }, Resource::Memory),
        (Quota { memory: 64 << 20, cycles: 1 << 30, events: 0 }, Resource::Events),
    ] {
        let mut stage = Stage::with(actor(COUNTER), quota);
        let failure = stage.tell(&word(7)).unwrap_err();
        assert!(matches!(failure, Failure::Exhausted(exhausted) if exhausted.0 == resource), "{failure:?}");
        assert_eq!(sums(&stage), []);
        stage.probe.left = Quota { memory: 64 << 20, cycles: 1 << 30, events: 100 };
        stage.run().unwrap();
        stage.tell(&word(1)).unwrap();
        assert_eq!(sums(&stage), [(12, 1), (13, 2)], "{resource}");
    }
}

#[test]
fn the_documented_prelude_is_complete() {
    // Every function of the interface is imported by the tests' prelude with the type that the document
    // gives.
    let prelude = text("");
    for (name, ..) in banyan_actors::wasm::abi::HOST_FUNCTIONS {
        assert!(prelude.contains(&format!("{name:?}")), "{name}");
    }
}

/// What an operation makes of no number has one spelling on every processor: x86 would give 0 / 0 a sign, and
/// keep the bits of an operand that is a NaN.
#[test]
fn a_nan_has_the_same_bits_everywhere() {
    let body = r#"
        (func (export "banyan_receive") (param i32 i32 i32)
            (call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
            (f32.store (i32.const 4) (f32.div (f32.load (i32.const 8)) (f32.load (i32.const 8))))
            (f32.store (i32.const 12) (f32.add (f32.load (i32.const 0)) (f32.const 1)))
            (f64.store (i32.const 16) (f64.sqrt (f64.const -1)))
            (v128.store (i32.const 32) (f32x4.sqrt (f32x4.splat (f32.const -1))))
            (call $send (call $message_address (i32.const 0)) (i32.const 0) (i32.const 48) (i32.const 0) (i32.const 0)))"#;
    let mut stage = Stage::new(actor(body));
    stage.tell(&word(0xffe1_2345)).unwrap();
    let sent = stage.collected().pop().unwrap();
    let (single, double) = (0x7fc0_0000_u32.to_le_bytes(), 0x7ff8_0000_0000_0000_u64.to_le_bytes());
    assert_eq!(sent[..4], word(0xffe1_2345), "what is only moved keeps its bits");
    assert_eq!((&sent[4..8], &sent[12..16], &sent[16..24]), (&single[..], &single[..], &double[..]));
    assert!(sent[32..48].chunks(4).all(|lane| lane == single), "{:x?}", &sent[32..48]);
}
