//! Durable actors of a module: memory, globals and handles are there after any crash, and every event
//! happened once.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use banyan_actors::durable::{DurableStore, KillPoint, Kinds};
use banyan_actors::wasm::{Engine, EngineOptions, Limits};
use banyan_actors::{
    Addr, Address, Configuration, Failure, Handle, Message, Packet, Quota, Runtime, RuntimeOptions,
    Simulation, closure,
};

use super::{binary, word};

/// Adds up what it is sent, in a global and in memory, and has a child that does the same, whose handle it
/// holds. A number is added; anything else is a question for both sums. The number 13 is one that it traps
/// on, after all is done.
const FAMILY: &str = r#"
    (global $child (mut i32) (i32.const 0))
    (global $sum (mut i32) (i32.const 0))
    (func (export "banyan_receive") (param $behaviour i32) (param $bytes i32) (param i32)
        (if (i32.eq (local.get $bytes) (i32.const 4)) (then
            (call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
            (global.set $sum (i32.add (global.get $sum) (i32.load (i32.const 0))))
            (i32.store (i32.const 100000) (i32.add (i32.load (i32.const 100000)) (i32.load (i32.const 0))))
            (if (i32.eqz (local.get $behaviour)) (then
                (if (i32.eqz (global.get $child)) (then
                    (global.set $child
                        (call $create (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
                (call $send (global.get $child) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0))))
            (if (i32.eq (i32.load (i32.const 0)) (i32.const 13)) (then unreachable))
            (return)))
        (if (i32.ne (global.get $sum) (i32.load (i32.const 100000))) (then unreachable))
        (i32.store (i32.const 16) (global.get $sum))
        (i32.store (i32.const 20) (call $message_address (i32.const 0)))
        (call $send (i32.load (i32.const 20)) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 0))
        (if (i32.eqz (local.get $behaviour)) (then
            (call $send (global.get $child) (i32.const 24) (i32.const 1) (i32.const 20) (i32.const 1))))
        (call $release (i32.load (i32.const 20))))"#;

fn open(handle: &Handle, path: &Path, kill: Option<KillPoint>) -> Address {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let engine = Engine::new(EngineOptions { limits, actors: 64, ..EngineOptions::default() }).unwrap();
    let module = engine.compile(&binary(FAMILY)).unwrap();
    let store = DurableStore::open(path, Kinds::new().with_module(&module)).unwrap();
    let store = if let Some(kill) = kill { store.kill_at(kill) } else { store };
    let family = Configuration::new("family").durable_behaviour(store, module.actor(0, Packet::default()));
    handle.open(family).unwrap()
}

/// Asks both; `settle` makes sure that the answers have come.
fn sums(handle: &Handle, family: &Address, settle: &mut dyn FnMut()) -> [u32; 2] {
    let (sender, answers) = channel();
    let listener = closure(sender, |sender, answer: &[u8; 4], _| {
        sender.send(u32::from_le_bytes(*answer)).map_err(|error| Failure::because(error.to_string()))
    });
    let listener = handle.create(Configuration::new("listener").with_behaviour(listener));
    handle.deliver(family, Message::from_packet(Packet { bytes: vec![0], addresses: vec![listener] }));
    settle();
    [0, 1].map(|_| answers.recv_timeout(Duration::from_secs(20)).expect("both answer"))
}

#[test]
fn a_family_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("family.arena");
    let mut expected = 0;
    for round in 0..4 {
        let mut simulation = Simulation::new(round, 2, Quota::AMPLE);
        let family = open(&simulation, &path, None);
        for number in [20 + round as u32, 13, 3] {
            simulation.deliver(
                &family,
                Message::from_packet(Packet { bytes: word(number).to_vec(), addresses: vec![] }),
            );
        }
        expected += 23 + round as u32;
        simulation.run(10_000);
        let handle: Handle = (*simulation).clone();
        let got = sums(&handle, &family, &mut || {
            simulation.run(10_000);
        });
        assert_eq!(got, [expected; 2], "round {round}: {:?}", handle.log_lines());
    }
}

const NUMBERS: u64 = 120;
const DIRECTORY: &str = "BANYAN_TEST_FAMILY";
const KILL: &str = "BANYAN_TEST_FAMILY_KILL";

/// The program that is killed; as a test it does nothing.
#[test]
fn program() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let kill = std::env::var(KILL).ok().map(|text| {
        let (point, occurrence) = text.split_once(' ').unwrap();
        KillPoint { point: point.to_owned(), occurrence: occurrence.parse().unwrap() }
    });
    let runtime = Runtime::start(RuntimeOptions { hosts: 1, ..RuntimeOptions::default() }).unwrap();
    let family = open(&runtime, &Path::new(&directory).join("family.arena"), kill);
    let target: Addr<[u8; 4]> = family.clone().typed();
    let mut sequence = runtime.last_seen("family", "test").unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while sequence < NUMBERS {
        // A few at a time, for many commits.
        let to = (sequence + 5).min(NUMBERS);
        for number in sequence + 1..=to {
            runtime.send_once("test", number, &target, word(number as u32));
        }
        while runtime.last_seen("family", "test").unwrap() < to {
            assert!(Instant::now() < deadline, "the numbers are not committed");
            std::thread::sleep(Duration::from_millis(1));
        }
        sequence = to;
    }
    let [parent, child] = sums(&runtime, &family, &mut || {});
    println!("sums {parent} {child}");
}

#[test]
fn killed_at_any_point_every_event_happens_once() {
    let directory = tempfile::tempdir().unwrap();
    let points = ["dispatched", "committed", "sent"];
    for round in 0..100u64 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "durable::program", "--nocapture"]).env(DIRECTORY, directory.path());
        // The last rounds are allowed to come to the end.
        if round < 12 {
            command.env(KILL, format!("{} {}", points[round as usize % 3], 1 + round % 5));
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            let expected = NUMBERS * (NUMBERS + 1) / 2 - 13;
            assert!(text.contains(&format!("sums {expected} {expected}")), "{text}");
            // Every round before this one was killed.
            assert!(round >= 8, "only {round} died at a named point");
            return;
        }
        assert!(output.status.code().is_none(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    panic!("the program does not come to its end");
}
